"""Entry point ``torch.backends``: let torchvision import beside a torch without CUDA.

PyPI's torchvision wheels are built against CUDA; beside a CPU torch their C++ operators do not load and the import
fails with "operator torchvision::nms does not exist", which takes every image processor of transformers with it.
Nobody here calls these two operators: their schemas are enough. torch runs this group at the end of ``import torch``,
so vLLM's helper processes are covered too.
"""

import torch

_SCHEMAS = ("nms", "qnms")
_LIBRARIES: list = []  # A torch.library.Library unregisters its schemas when it is collected.


def register() -> None:
    """Define the two missing schemas where torch has no CUDA and the operators did not load."""
    if torch.version.cuda is not None or torch.version.hip is not None or _LIBRARIES:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
