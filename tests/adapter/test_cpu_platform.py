"""Which machines are without an accelerator, and what verl is told of them."""

from types import SimpleNamespace

import pytest
import torch
from verl.plugin.platform import PlatformRegistry

from recap_verl.verl_adapter.cpu import platform

# ------------------------------------------------------------------- the choice


def machine(monkeypatch, cuda=None, hip=None, available=False, npu=False, files=()):
    """A machine with this torch (versions of CUDA and ROCm), these visible GPUs and these device files."""
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    if npu:
        monkeypatch.setattr(torch, "npu", object(), raising=False)
    monkeypatch.setattr(platform, "os", SimpleNamespace(path=SimpleNamespace(exists=files.__contains__), environ={}))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"files": (platform.NVIDIA_DRIVERS[0],)}, True),  # torch cannot use that GPU anyway
        ({"cuda": "12.8"}, True),
        ({"cuda": "12.8", "available": True}, False),
        # An actor from which Ray hides the machine's GPUs:
        ({"cuda": "12.8", "files": (platform.NVIDIA_DRIVERS[0],)}, False),
        ({"cuda": "12.8", "files": (platform.NVIDIA_DRIVERS[1],)}, False),
        ({"hip": "6.4"}, False),
        ({"npu": True}, False),
    ],
)
def test_a_machine_without_accelerator_is_known(monkeypatch, settings, expected):
    machine(monkeypatch, **settings)
    assert platform.machine_has_no_accelerator() is expected
    assert platform.PlatformCPU().is_platform_available(use_smi_check=True) is expected


@pytest.mark.parametrize(("asked", "expected"), [("cpu", True), (" CPU ", True), ("nvidia", False), ("ascend", False)])
@pytest.mark.parametrize("settings", [{}, {"cuda": "12.8", "available": True}])
def test_what_is_asked_for_decides(monkeypatch, settings, asked, expected):
    machine(monkeypatch, **settings)
    platform.os.environ["VERL_PLATFORM"] = asked
    assert platform.is_selected() is expected


@pytest.mark.parametrize(("settings", "expected"), [({}, True), ({"cuda": "12.8", "available": True}, False)])
def test_if_nothing_is_asked_the_machine_decides(monkeypatch, settings, expected):
    machine(monkeypatch, **settings)
    for nothing in ({}, {"VERL_PLATFORM": " "}):
        platform.os.environ = nothing
        assert platform.is_selected() is expected


# ----------------------------------------------------------------- the platform


def test_the_platform_answers_verls_questions():
    assert PlatformRegistry.get("cpu") is platform.PlatformCPU
    cpu = platform.PlatformCPU()  # it would not be made with one of verl's abstract methods missing
    assert cpu.device_name == "cpu" and cpu.communication_backend_name() == "gloo"
    assert torch.zeros(1, device=cpu.current_device()).device.type == "cpu"
    assert cpu.is_available() and not cpu.is_ipc_supported() and cpu.device_count() == 1
    assert cpu.ray_resource_name() == "GPU", "the resource that verl's pools ask Ray for"
    with cpu.nvtx_range("a step"):
        pass


def test_the_device_module_answers_what_verl_asks_of_torch_cuda():
    device = platform.PlatformCPU().device_module
    assert device.is_available() and device.get_device_name(0) == "cpu"
    for question in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        assert getattr(device, question)() == getattr(device, question)("cpu") == 0
    device.empty_cache(), device.reset_peak_memory_stats(), device.synchronize()
    free, total = device.mem_get_info()
    assert 0 < free <= total
    with pytest.raises(AttributeError):
        device.no_such_function()


def test_random_states_are_those_of_the_cpu():
    device = platform.PlatformCPU().device_module
    with torch.random.fork_rng(devices=[]):
        device.manual_seed(3)
        state, first = device.get_rng_state(), torch.rand(2)
        device.set_rng_state(state)
        assert torch.equal(torch.rand(2), first)
        platform.PlatformCPU().manual_seed_all(3)
        assert torch.equal(torch.rand(2), first)
