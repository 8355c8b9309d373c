"""Entry point ``torch.backends``: torchvision and its kin beside a torch without CUDA.

PyPI's Linux wheels of torchvision, torchaudio and torchcodec are built against CUDA. torch runs this group at the end
of every ``import torch``, so vLLM's helper processes are covered too. Nothing happens where torch has CUDA or ROCm, or
beside builds that do without them.

- torchvision fails to import with "operator torchvision::nms does not exist", which takes every image processor of
  transformers with it. Nobody here calls that operator or its quantised twin: their schemas are enough.
- torchaudio and torchcodec fail with OSError where vLLM and transformers expect the ImportError of an absent package,
  so they are made absent.
"""

import importlib.util
import mmap
import sys
from pathlib import Path

import torch
from torch import library as torch_library

_MADE_ABSENT = ("torchaudio", "torchcodec")
_SCHEMAS = ("nms", "qnms")
_LIBRARIES: list = []  # A Library takes its schemas back when it is collected.


def register() -> None:
    """Called by torch; calling it again changes nothing."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    if _is_cuda_build("torchvision") and not _LIBRARIES:
        operators = torch_library.Library("torchvision", "FRAGMENT")
        for name in _SCHEMAS:
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(operators)
    for package in _MADE_ABSENT:
        if _is_cuda_build(package):
            sys.modules.setdefault(package, None)
    # Imported before torch, `datasets` has seen torchcodec and would import from it.
    if sys.modules.get("torchcodec", ...) is None and "datasets.config" in sys.modules:
        sys.modules["datasets.config"].TORCHCODEC_AVAILABLE = False


def _is_cuda_build(package: str) -> bool:
    """Whether one of the package's libraries names a library of CUDA; its version alone does not tell."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return False
    folder = Path(spec.submodule_search_locations[0])
    return any(_names_cuda(library) for pattern in ("*.so", "lib/*.so") for library in folder.glob(pattern))


def _names_cuda(library: Path) -> bool:
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in (b"libcudart.so", b"libc10_cuda.so", b"libnvrtc.so"))
