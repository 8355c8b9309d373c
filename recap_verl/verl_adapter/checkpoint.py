"""RECAP's state inside verl's checkpoint folders (verl 0.9.1, ``PPOTrainer._save_checkpoint``).

verl writes ``global_step_N/actor``, ``data.pt`` and last of all the file ``latest_checkpointed_iteration.txt`` that
makes folder N the one to resume from. ``recap.json`` is written before verl begins, so a folder that counts always
has it. The sampler's position is in ``data.pt``, through verl's StatefulDataLoader.
"""

import errno
import json
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from recap_verl.scheduler import RecapScheduler

FILE = "recap.json"
TRACKER = "latest_checkpointed_iteration.txt"
VERSION = 1
RESUME_MODES = ("auto", "disable", "resume_path")
_KEYS = {"version", "global_step", "scheduler", "baseline"}
_PREFIX = "global_step_"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``recap.json`` atomically: after a crash at any moment it is whole, old or new, or absent.

    Raises:
        OSError: naming the file; a full disk leaves no temporary file behind and the old state in place.
    """
    # One name for all attempts: what a killed process left behind is overwritten, not heaped up.
    temporary = folder / f".{FILE}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("w") as file:
            json.dump({"version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / FILE)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            hint = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise OSError(
                error.errno, f"RECAP's state cannot be saved to {folder / FILE}: {error.strerror}{hint}"
            ) from error
        raise


def read_state(folder: Path) -> dict[str, Any]:
    """The content of ``recap.json``.

    Raises:
        ValueError: the file is missing, damaged, or of another version.
    """
    path = folder / FILE
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} has no {FILE}, so it was not written by a RECAP run: set trainer.resume_mode=disable, or "
            f"recap.resume=fresh to take its weights with a fresh scheduler and sampler"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}): resume from another checkpoint") from error
    if not isinstance(state, dict) or set(state) != _KEYS or state["version"] != VERSION:
        raise ValueError(f"{path} is not a RECAP state of version {VERSION}: resume from another checkpoint")
    baseline = state["baseline"]
    if not isinstance(baseline, Mapping) or not all(isinstance(score, Real) for score in baseline.values()):
        raise ValueError(f"{path} is damaged (its baseline holds no scores): resume from another checkpoint")
    return state


def resume_folder(config: DictConfig) -> Path | None:
    """The checkpoint folder that verl is going to resume from, None for a new run.

    Repairs ``latest_checkpointed_iteration.txt`` where a crash left it empty: verl truncates it before it writes the
    number, and only once everything else of that checkpoint is on disk.
    """
    mode = config.trainer.resume_mode
    if mode not in RESUME_MODES:
        raise ValueError(f"trainer.resume_mode must be one of {', '.join(RESUME_MODES)}, but is {mode!r}")
    if mode == "disable":
        return None
    if mode == "resume_path":
        folder = Path(str(config.trainer.resume_from_path)).absolute()
        if not folder.is_dir() or _step_of(folder) is None:
            raise ValueError(f"trainer.resume_from_path={folder} is no checkpoint folder {_PREFIX}N")
        return folder
    root = Path(config.trainer.default_local_dir).absolute()
    tracker = root / TRACKER
    if not tracker.exists():
        return None
    content = tracker.read_text(errors="replace").strip()
    folder = root / f"{_PREFIX}{content}" if content else _last_folder(root, tracker)
    if _step_of(folder) is None or not folder.is_dir():
        raise ValueError(f"{tracker} names step {content!r}, but there is no folder {folder}: restore or remove them")
    if not content:
        tracker.write_text(str(_step_of(folder)))
    return folder


def _step_of(folder: Path) -> int | None:
    """N of a folder ``global_step_N``, None for any other."""
    step = folder.name.removeprefix(_PREFIX)
    return int(step) if folder.name.startswith(_PREFIX) and step.isdecimal() else None


def _last_folder(root: Path, tracker: Path) -> Path:
    folders = [folder for folder in root.glob(f"{_PREFIX}*") if _step_of(folder) is not None]
    if not folders:
        raise ValueError(f"{tracker} is empty and {root} holds no checkpoint folder {_PREFIX}N: remove that file")
    return max(folders, key=_step_of)


def check_resume(config: DictConfig, scheduler: RecapScheduler) -> None:
    """Find out now, not after the model is loaded, whether the run can go on from its checkpoint.

    Args:
        scheduler: a new one of this run, to be thrown away.

    Raises:
        ValueError: the checkpoint is damaged, or belongs to a run with other objectives or settings.
    """
    folder = resume_folder(config)
    if config.trainer.resume_mode == "resume_path":
        # verl reads the step off the end of this text and fails on a closing slash.
        config.trainer.resume_from_path = str(folder)
    if folder is None or is_fresh_start(config, folder):
        return
    read_loader_state(folder)
    restore_scheduler(scheduler, read_state(folder), folder)


def is_fresh_start(config: DictConfig, folder: Path) -> bool:
    """Whether a checkpoint without RECAP state is to be taken up with a fresh scheduler."""
    return config.recap.resume == "fresh" and not (folder / FILE).exists()


def restore_scheduler(scheduler: RecapScheduler, state: dict[str, Any], folder: Path) -> None:
    """Load the scheduler's part of a state; ValueError names the file and what differs."""
    try:
        scheduler.load_state_dict(state["scheduler"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / FILE} does not fit this run: {error}") from error


def read_loader_state(folder: Path) -> Any:
    """verl's ``data.pt``; ValueError if it cannot be read."""
    path = folder / "data.pt"
    try:
        return torch.load(path, weights_only=False)
    except Exception as error:
        # Damaged pickles raise whatever the bytes happen to spell.
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): resume from another checkpoint"
        ) from error
