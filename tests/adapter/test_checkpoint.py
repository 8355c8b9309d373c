"""RECAP's part of a checkpoint: written whole or not at all, read whole or refused."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

from recap_verl.domains import Domains
from recap_verl.replay import ReplaySampler
from recap_verl.scheduler import RecapScheduler
from recap_verl.verl_adapter import checkpoint
from recap_verl.verl_adapter.trainer import RecapTrainerMixin


def scheduler(window: int = 2) -> RecapScheduler:
    return RecapScheduler({"accuracy": "reward", "format": "reward"}, window=window)


def state(step: int = 3, **observed) -> dict:
    trained = scheduler()
    for value in (0.1, 0.2, 0.35, 0.3 + 1e-17, 1 / 3):
        trained.observe({"accuracy": value, "format": 0.9 * value, **observed})
    return {"global_step": step, "scheduler": trained.state_dict(), "baseline": {"gsm8k": 0.1 + 0.2}}


def config(root, mode="auto", path=None, resume="strict"):
    trainer = {"resume_mode": mode, "resume_from_path": path, "default_local_dir": str(root)}
    return OmegaConf.create({"trainer": trainer, "recap": {"resume": resume}})


def checkpoint_folder(root: Path, step: int) -> Path:
    folder = root / f"global_step_{step}"
    checkpoint.write_state(folder, state(step))
    torch.save({}, folder / "data.pt")
    return folder


# ---------------------------------------------------------------------- writing


def test_what_is_written_is_what_is_read(tmp_path):
    written = state()
    checkpoint.write_state(tmp_path / "new" / "global_step_3", written)
    read = checkpoint.read_state(tmp_path / "new" / "global_step_3")
    assert read == {"version": 1, **written}, "to the last bit"
    restored = scheduler()
    checkpoint.restore_scheduler(restored, read, tmp_path)
    assert restored.state_dict() == written["scheduler"]


def test_writing_again_replaces(tmp_path):
    for step in (3, 6):
        checkpoint.write_state(tmp_path, state(step))
    assert checkpoint.read_state(tmp_path)["global_step"] == 6
    assert os.listdir(tmp_path) == [checkpoint.FILE]


def test_the_file_may_be_read_by_whom_the_others_may(tmp_path):
    (tmp_path / "other").touch()
    checkpoint.write_state(tmp_path, state())
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", checkpoint.FILE)]
    assert modes[0] == modes[1]


def fail_with(number: int):
    def fail(*_args):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failure_while_writing_leaves_the_old_state_and_no_litter(tmp_path, monkeypatch, call, number):
    checkpoint.write_state(tmp_path, state(3))
    monkeypatch.setattr(checkpoint.os, call, fail_with(number))
    with pytest.raises(OSError) as error:
        checkpoint.write_state(tmp_path, state(6))
    assert error.value.errno == number
    assert str(tmp_path / checkpoint.FILE) in str(error.value)
    assert ("free some space" in str(error.value)) == (number != errno.EIO)
    assert checkpoint.read_state(tmp_path)["global_step"] == 3
    assert os.listdir(tmp_path) == [checkpoint.FILE]


def test_a_state_that_is_no_json_leaves_the_old_one(tmp_path):
    checkpoint.write_state(tmp_path, state(3))
    with pytest.raises(TypeError):
        checkpoint.write_state(tmp_path, {**state(6), "baseline": object()})
    assert checkpoint.read_state(tmp_path)["global_step"] == 3
    assert os.listdir(tmp_path) == [checkpoint.FILE]


def test_a_disk_that_is_really_full(tmp_path):
    checkpoint.write_state(tmp_path, state(3))
    # The kernel answers every write to this device as it does on a full disk.
    (tmp_path / f".{checkpoint.FILE}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device; free some space") as error:
        checkpoint.write_state(tmp_path, state(6))
    assert error.value.errno == errno.ENOSPC
    assert checkpoint.read_state(tmp_path)["global_step"] == 3
    assert os.listdir(tmp_path) == [checkpoint.FILE]


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from recap_verl.verl_adapter import checkpoint
checkpoint.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write_state(Path(sys.argv[1]), {"global_step": 6, "scheduler": {}, "baseline": {}})
"""


def test_a_kill_while_writing_leaves_the_old_state(tmp_path):
    checkpoint.write_state(tmp_path, state(3))
    assert subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)]).returncode == -9
    assert checkpoint.read_state(tmp_path)["global_step"] == 3
    checkpoint.write_state(tmp_path, state(6))
    assert checkpoint.read_state(tmp_path)["global_step"] == 6
    assert os.listdir(tmp_path) == [checkpoint.FILE], "the next save takes the litter with it"


# ---------------------------------------------------------------------- reading


def damaged(**changes) -> str:
    return json.dumps({"version": 1, **state(), **changes})


DAMAGED = {
    "empty": ("", "cannot be read"),
    "cut off": (damaged()[:-20], "cannot be read"),
    "bytes": (b"\xff\xfe\x00", "cannot be read"),
    "nested without end": ("[" * 100_000, "cannot be read"),
    "a list": ("[]", "is not a RECAP state of version 1"),
    "another version": (damaged(version=2), "is not a RECAP state of version 1"),
    "a key too many": (damaged(sampler={}), "is not a RECAP state of version 1"),
    "a key too few": (json.dumps({"version": 1, "global_step": 3}), "is not a RECAP state of version 1"),
    "baseline a list": (damaged(baseline=[0.5]), "is damaged (its baseline holds no scores)"),
    "baseline of words": (damaged(baseline={"gsm8k": "good"}), "is damaged (its baseline holds no scores)"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_state_is_refused_and_left_alone(tmp_path, content, message):
    file = tmp_path / checkpoint.FILE
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    with pytest.raises(ValueError) as error:
        checkpoint.read_state(tmp_path)
    assert str(error.value).startswith(f"{file} {message}")
    assert str(error.value).endswith("resume from another checkpoint")
    assert file.read_bytes() == before


def test_a_folder_without_state_names_both_ways_out(tmp_path):
    with pytest.raises(ValueError, match=r"trainer\.resume_mode=disable, or recap\.resume=fresh"):
        checkpoint.read_state(tmp_path)


FOREIGN = {
    "another window": scheduler(window=5).state_dict(),
    "another objective": RecapScheduler({"iou": "reward"}, window=2).state_dict(),
    "no scheduler": {},
    "a word": "scheduler",
    "a series cut short": {**state()["scheduler"], "series": {"accuracy": {"count": 9, "first": 0.5, "values": []}}},
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_scheduler_state_changes_nothing(tmp_path, foreign):
    ours = scheduler()
    checkpoint.restore_scheduler(ours, state(), tmp_path)
    before = ours.state_dict()
    with pytest.raises(ValueError) as error:
        checkpoint.restore_scheduler(ours, {"scheduler": foreign}, tmp_path)
    assert str(error.value).startswith(f"{tmp_path / checkpoint.FILE} does not fit this run: ")
    assert ours.state_dict() == before


# ----------------------------------------------------------------- which folder


def test_a_new_run_resumes_from_nothing(tmp_path):
    assert checkpoint.resume_folder(config(tmp_path / "not there")) is None
    checkpoint_folder(tmp_path, 3)
    assert checkpoint.resume_folder(config(tmp_path)) is None, "without a tracker verl starts anew"
    (tmp_path / checkpoint.TRACKER).write_text("3")
    assert checkpoint.resume_folder(config(tmp_path, "disable")) is None


def test_the_tracker_names_the_folder_even_if_a_later_one_exists(tmp_path):
    folder = checkpoint_folder(tmp_path, 3)
    checkpoint_folder(tmp_path, 6)  # killed before verl wrote the tracker
    (tmp_path / checkpoint.TRACKER).write_text("3\n")
    assert checkpoint.resume_folder(config(tmp_path)) == folder


def test_an_emptied_tracker_is_mended_with_the_last_step(tmp_path):
    for step in (3, 9, 12):
        checkpoint_folder(tmp_path, step)
    (tmp_path / "global_step_9.old").mkdir()
    (tmp_path / checkpoint.TRACKER).write_text("")
    assert checkpoint.resume_folder(config(tmp_path)) == tmp_path / "global_step_12"
    assert (tmp_path / checkpoint.TRACKER).read_text() == "12"


def test_an_emptied_tracker_without_folders(tmp_path):
    (tmp_path / checkpoint.TRACKER).write_text(" ")
    with pytest.raises(ValueError, match=r"is empty and .* holds no checkpoint folder global_step_N: remove that file"):
        checkpoint.resume_folder(config(tmp_path))


@pytest.mark.parametrize("content", ["7", "three", "3.0", "-3", "../3"])
def test_a_tracker_that_names_no_folder(tmp_path, content):
    checkpoint_folder(tmp_path, 3)
    (tmp_path / checkpoint.TRACKER).write_text(content)
    with pytest.raises(ValueError, match="restore or remove them") as error:
        checkpoint.resume_folder(config(tmp_path))
    assert repr(content) in str(error.value)
    assert (tmp_path / checkpoint.TRACKER).read_text() == content


def test_a_folder_named_by_path(tmp_path):
    folder = checkpoint_folder(tmp_path, 3)
    assert checkpoint.resume_folder(config(tmp_path, "resume_path", f"{folder}/")) == folder
    for wrong in (tmp_path, f"{folder}/actor", tmp_path / "global_step_4", None):
        with pytest.raises(ValueError, match=r"trainer\.resume_from_path=.* is no checkpoint folder global_step_N"):
            checkpoint.resume_folder(config(tmp_path, "resume_path", None if wrong is None else str(wrong)))


# ------------------------------------------------------- the trainer's own calls


class VerlTrainer:
    """What the mixin calls of verl's trainer when it loads: data.pt goes to the loader (trainer_base.py, 0.9.1)."""

    def __init__(self, settings, sampler):
        self.config, self.global_steps, self.loaded = settings, None, False
        self.train_dataset, self.replay_sampler = list(range(12)), sampler

    def _load_checkpoint(self):
        self.global_steps, self.loaded = 3, True
        folder = Path(self.config.trainer.default_local_dir) / "global_step_3"
        self.train_dataloader.load_state_dict(torch.load(folder / "data.pt", weights_only=False))


class Trainer(RecapTrainerMixin, VerlTrainer):
    def __init__(self, settings):
        VerlTrainer.__init__(self, settings, ReplaySampler(["a", "b"] * 6, 4))
        self.scheduler, self._baseline = scheduler(), {}
        self.domains = Domains({"a": {"role": "target", "objectives": ["accuracy"]}, "b": {"objectives": ["accuracy"]}})
        self.train_dataloader = self._replay_dataloader()


def trainer(root, resume="strict") -> Trainer:
    settings = config(root, resume=resume)
    settings.data = {"train_batch_size": 4, "dataloader_num_workers": 0}
    return Trainer(settings)


def save_loader(folder: Path, loader: StatefulDataLoader, batches: int) -> list:
    iterator = iter(loader)
    for _ in range(batches):
        next(iterator)
    torch.save(loader.state_dict(), folder / "data.pt")
    return list(iterator)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setattr("recap_verl.verl_adapter.trainer.collate_fn", list)
    folder = checkpoint_folder(tmp_path, 3)
    (tmp_path / checkpoint.TRACKER).write_text("3")
    return folder


def test_the_trainer_goes_on_where_it_was(saved):
    rest = save_loader(saved, trainer(saved.parent).train_dataloader, batches=1)
    resumed = trainer(saved.parent)
    resumed._load_checkpoint()
    assert resumed.scheduler.state_dict() == state()["scheduler"]
    assert resumed._baseline == state()["baseline"]
    assert list(resumed.train_dataloader_it) == rest


def test_a_fresh_start_on_the_weights_of_plain_verl(saved):
    (saved / checkpoint.FILE).unlink()
    plain = RandomSampler(range(12), generator=torch.Generator())
    save_loader(saved, StatefulDataLoader(range(12), 4, sampler=plain, collate_fn=list, num_workers=0), batches=1)
    strict = trainer(saved.parent)
    with pytest.raises(ValueError, match=r"recap\.resume=fresh"):
        strict._load_checkpoint()
    assert not strict.loaded, "refused before verl loads a model"

    fresh = trainer(saved.parent, resume="fresh")
    fresh._load_checkpoint()
    assert fresh.loaded and fresh.scheduler.state_dict() == scheduler().state_dict()
    assert list(fresh.train_dataloader) == list(trainer(saved.parent).train_dataloader), "from the sampler's beginning"


def test_a_state_that_does_not_fit_is_refused_before_verl_loads(saved):
    checkpoint.write_state(saved, {**state(), "scheduler": FOREIGN["another window"]})
    resumed = trainer(saved.parent)
    with pytest.raises(ValueError, match="window is 5 there but 2 here"):
        resumed._load_checkpoint()
    assert not resumed.loaded
    assert resumed.scheduler.state_dict() == scheduler().state_dict() and resumed._baseline == {}
