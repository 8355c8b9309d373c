"""RECAP's state inside verl's checkpoint folders (verl 0.9.1, ``PPOTrainer._save_checkpoint``).

verl writes ``global_step_N/actor``, ``data.pt`` and last of all the file ``latest_checkpointed_iteration.txt`` that
makes folder N the one to resume from. ``recap.json`` is written before verl begins, so a folder that counts always
has it. The sampler's position is in ``data.pt``, through verl's StatefulDataLoader.
"""

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from recap_verl.domains import Domains

FILE = "recap.json"
TRACKER = "latest_checkpointed_iteration.txt"
VERSION = 1
_KEYS = {"version", "global_step", "scheduler", "baseline"}


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``recap.json`` atomically: after a crash at any moment it is whole, old or new, or absent.

    Raises:
        OSError: naming the file; a full disk leaves no temporary file behind and the old state in place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / FILE)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f"RECAP's state cannot be saved to {folder / FILE}: {error.strerror}; free some space"
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
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): resume from another checkpoint") from error
    if not isinstance(state, dict) or set(state) != _KEYS or state["version"] != VERSION:
        raise ValueError(f"{path} is not a RECAP state of version {VERSION}: resume from another checkpoint")
    return state


def resume_folder(config: DictConfig) -> Path | None:
    """The checkpoint folder that verl is going to resume from, None for a new run.

    Repairs ``latest_checkpointed_iteration.txt`` where a crash left it empty: verl truncates it before it writes the
    number, and only once everything else of that checkpoint is on disk.
    """
    mode = config.trainer.resume_mode
    if mode == "disable":
        return None
    if mode == "resume_path":
        folder = Path(str(config.trainer.resume_from_path)).absolute()
        if not folder.is_dir() or not folder.name.startswith("global_step_"):
            raise ValueError(f"trainer.resume_from_path={folder} is no checkpoint folder global_step_N")
        return folder
    root = Path(config.trainer.default_local_dir).absolute()
    tracker = root / TRACKER
    if not tracker.exists():
        return None
    step = tracker.read_text().strip()
    if not step:
        step = max((folder.name.removeprefix("global_step_") for folder in root.glob("global_step_*")), key=int)
        tracker.write_text(step)
    folder = root / f"global_step_{step}"
    if not step.isdigit() or not folder.is_dir():
        raise ValueError(f"{tracker} names step {step!r}, but there is no folder {folder}: restore or remove them")
    return folder


def check_resume(config: DictConfig, domains: Domains) -> None:
    """Find out now, not after the model is loaded, whether the run can go on from its checkpoint.

    Raises:
        ValueError: the checkpoint is damaged, or belongs to a run with other objectives or settings.
    """
    folder = resume_folder(config)
    if folder is None:
        return
    read_loader_state(folder)
    if is_fresh_start(config, folder):
        return
    restore_scheduler(build_scheduler_for_check(config, domains), read_state(folder), folder)


def build_scheduler_for_check(config: DictConfig, domains: Domains):
    from recap_verl.verl_adapter.config import build_scheduler

    return build_scheduler(config, domains)


def is_fresh_start(config: DictConfig, folder: Path) -> bool:
    """Whether a checkpoint without RECAP state is to be taken up with a fresh scheduler."""
    return config.recap.resume == "fresh" and not (folder / FILE).exists()


def restore_scheduler(scheduler, state: dict[str, Any], folder: Path) -> None:
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
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): resume from another checkpoint") from error
