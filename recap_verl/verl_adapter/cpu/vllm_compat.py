"""Entry point ``vllm.general_plugins``: keep CPU weights where a weight update can find them.

vLLM 0.30 repacks each linear weight for its CPU kernels and drops the original
(``vllm/model_executor/layers/utils.py:dispatch_cpu_unquantized_gemm``), after which verl's weight synchronisation
fails with "no attribute weight_loader". A model that is trained between two rollouts keeps plain weights instead.
"""

import torch


def register() -> None:
    """Called by vLLM in each of its processes; does nothing unless vLLM runs on a CPU."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.model_executor.layers import utils

    utils.dispatch_cpu_unquantized_gemm = _keep_plain_linear


def _keep_plain_linear(layer: torch.nn.Module, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear
