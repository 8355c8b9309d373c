"""The studies there are: what each trains, on what, and for how long."""

from collections.abc import Callable
from pathlib import Path

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


LABORATORIES: dict[str, Callable[[Path], tuple[Laboratory, Study]]] = {"vl": _vision_language}


def open_laboratory(name: str, work: Path) -> tuple[Laboratory, Study]:
    """A study's model, data and settings; what is missing in `work` is made first."""
    return LABORATORIES[name](work)
