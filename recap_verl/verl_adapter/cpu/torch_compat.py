"""Entry point ``torch.backends``: torchvision and its kin beside a torch without CUDA.

PyPI's wheels of torchvision, torchaudio and torchcodec are built against CUDA. torch runs this group at the end of
every ``import torch``, so vLLM's helper processes are covered too. Nothing happens where torch has CUDA or ROCm, or
beside CPU builds ("+cpu").

- torchvision fails to import with "operator torchvision::nms does not exist", which takes every image processor of
  transformers with it. Nobody here calls that operator or its quantised twin: their schemas are enough.
- torchaudio and torchcodec fail with OSError where vLLM and transformers expect the ImportError of an absent package,
  so they are made absent.
"""

import importlib.metadata
import sys

import torch

_MADE_ABSENT = ("torchaudio", "torchcodec")
_SCHEMAS = ("nms", "qnms")
_LIBRARIES: list = []  # A torch.library.Library takes its schemas back when it is collected.


def register() -> None:
    """Called by torch; calling it again changes nothing."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    if _is_cuda_build("torchvision") and not _LIBRARIES:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _SCHEMAS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
    for package in _MADE_ABSENT:
        if _is_cuda_build(package):
            sys.modules.setdefault(package, None)


def _is_cuda_build(distribution: str) -> bool:
    try:
        return "+cpu" not in importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
