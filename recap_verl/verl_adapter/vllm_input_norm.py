"""Let vLLM normalise images although verl starts it with dummy weights.

verl 0.9.1 has vLLM fill its model with random numbers (`load_format=dummy`) and sends the real weights afterwards. In
vLLM 0.30 the mean and standard deviation of images are buffers of the vision tower
(`model_executor/models/vision.py:FusedInputNorm`), set when the model is built and in no checkpoint. Filling goes
through `state_dict()`, so they become noise for good, and the rollout engine sees noise in place of every image.
"""

from torch import nn


def keep_input_norm() -> None:
    """Take the buffers out of `state_dict()`; nothing to do for a vLLM that normalises elsewhere."""
    try:
        from vllm.model_executor.models import vision
    except ImportError:
        return
    norm = getattr(vision, "FusedInputNorm", None)
    if norm is None or getattr(norm, "_recap_kept", False):
        return
    build = norm.__init__

    def build_kept(self: nn.Module, *args, **kwargs) -> None:
        build(self, *args, **kwargs)
        self._non_persistent_buffers_set.update(("weight", "bias"))

    norm.__init__ = build_kept
    norm._recap_kept = True
