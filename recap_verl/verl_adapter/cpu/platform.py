"""The platform ``cpu`` for verl 0.9.1 (``verl/plugin/platform/platform_base.py``)."""

import os
from contextlib import contextmanager
from types import ModuleType

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

# The second is the driver of a Windows host, seen from its Linux subsystem.
NVIDIA_DRIVERS = ("/proc/driver/nvidia/version", "/dev/dxg")


def machine_has_no_accelerator() -> bool:
    """Whether neither CUDA, ROCm nor Ascend can be used on this machine.

    ``torch.cuda.is_available()`` alone is not enough: Ray hides the GPUs of a CUDA machine from actors that asked
    for none, so the driver's presence is asked for too.
    """
    if torch.cuda.is_available() or torch.version.hip is not None or hasattr(torch, "npu"):
        return False
    return torch.version.cuda is None or not any(map(os.path.exists, NVIDIA_DRIVERS))


def is_selected() -> bool:
    """Whether this process is to use the platform ``cpu``: by ``VERL_PLATFORM``, else because there is no other."""
    asked = os.environ.get("VERL_PLATFORM", "").strip().lower()
    return asked == "cpu" if asked else machine_has_no_accelerator()


class _CpuDeviceModule(ModuleType):
    """``torch.cpu`` plus the memory questions that verl asks of ``torch.cuda``; a CPU answers 0."""

    def __getattr__(self, name: str):
        return getattr(torch.cpu, name)

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def _zero(*_args, **_kwargs) -> int:
        return 0

    memory_allocated = memory_reserved = max_memory_allocated = max_memory_reserved = _zero
    reset_peak_memory_stats = empty_cache = ipc_collect = set_per_process_memory_fraction = _zero

    @staticmethod
    def mem_get_info(*_args) -> tuple[int, int]:
        """(free, total) bytes of main memory."""
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page

    @staticmethod
    def get_device_name(*_args) -> str:
        return "cpu"

    @staticmethod
    def get_rng_state(*_args) -> torch.Tensor:
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: torch.Tensor, *_args) -> None:
        torch.set_rng_state(state)

    @staticmethod
    def manual_seed(seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed


_DEVICE_MODULE = _CpuDeviceModule("recap_verl_cpu_device")


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Main memory as the device, gloo as the network, "GPU" as a purely logical Ray resource."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        return _DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return machine_has_no_accelerator()

    def current_device(self) -> str:
        # torch takes an int for the index of an accelerator; "cpu" is a device everywhere.
        return "cpu"

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        """There is one device."""

    def synchronize(self, device_index: int | None = None) -> None:
        """CPU work is synchronous."""

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """There is no caching allocator."""

    def empty_cache(self) -> None:
        """There is no caching allocator."""

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        # Weights then travel to vLLM through shared memory.
        return False

    @contextmanager
    def nvtx_range(self, msg: str):
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def cudart(self) -> None:
        return None
