"""Write a model folder in one step, so that a folder which exists is a folder which is complete."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def create_model_folder(folder: Path, fill: Callable[[Path], None]) -> bool:
    """Let `fill` write a model into a temporary folder, then rename that to `folder`.

    A `folder` that already holds a model (a `config.json`) is kept as it is. Whatever interrupts `fill`, `folder`
    does not appear.

    Returns: whether the model was written (False: it was there).
    Raises FileExistsError when `folder` exists, is not empty and holds no model.
    """
    if (folder / "config.json").is_file():
        return False
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and holds no model (no config.json): name another --out or remove it")

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fill(temporary)
        temporary.chmod(0o755)  # mkdtemp makes it private to one user
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    return True
