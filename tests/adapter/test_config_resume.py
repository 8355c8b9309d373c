"""Checkpoints that a run cannot go on from are refused before Ray or a model starts."""

from pathlib import Path

import pytest
import torch
from run_config import change, refusal

from recap_verl.parts import build_domains, build_scheduler
from recap_verl.verl_adapter import checkpoint
from recap_verl.verl_adapter.config import prepare_config


@pytest.fixture
def saved(config):
    """The folder of a checkpoint that fits the configuration."""
    root = Path(config.trainer.default_local_dir)
    folder = root / "global_step_3"
    state = {"global_step": 3, "scheduler": build_scheduler(config, build_domains(config)).state_dict(), "baseline": {}}
    checkpoint.write_state(folder, state)
    torch.save({"_num_yielded": 3}, folder / "data.pt")
    (root / checkpoint.TRACKER).write_text("3")
    return folder


def test_a_checkpoint_that_fits(config, saved):
    prepare_config(config)


def test_a_checkpoint_named_with_a_closing_slash(config, saved):
    change(config, **{"trainer.resume_mode": "resume_path", "trainer.resume_from_path": f"{saved}/"})
    prepare_config(config)
    assert config.trainer.resume_from_path == str(saved), "verl would read int('3/')"


def test_a_checkpoint_of_plain_verl(config, saved):
    (saved / checkpoint.FILE).unlink()
    (saved / "data.pt").write_bytes(b"of a sampler we do not use")
    message = refusal(config)
    (saved / "data.pt").unlink()
    torch.save({}, saved / "data.pt")
    message = refusal(config)
    assert str(saved) in message and "recap.resume=fresh" in message
    change(config, **{"recap.resume": "fresh"})
    prepare_config(config)


def test_fresh_forgives_no_damage(config, saved):
    (saved / checkpoint.FILE).write_text("{")
    change(config, **{"recap.resume": "fresh"})
    assert f"{saved / checkpoint.FILE} cannot be read" in refusal(config)


def test_a_checkpoint_of_other_settings(config, saved):
    change(config, **{"recap.scheduler.window": 7})
    message = refusal(config)
    assert f"{saved / checkpoint.FILE} does not fit this run" in message and "window is 10 there but 7 here" in message


@pytest.mark.parametrize("damage", [b"", b"\x80\x04 nonsense", b"PK\x03\x04 half a zip"])
def test_a_loader_state_that_is_damaged(config, saved, damage):
    (saved / "data.pt").write_bytes(damage)
    with pytest.raises(ValueError) as error:
        prepare_config(config)
    assert f"{saved / 'data.pt'} cannot be read" in str(error.value)
    assert str(error.value).endswith("resume from another checkpoint")


def test_a_loader_state_that_is_missing(config, saved):
    (saved / "data.pt").unlink()
    assert f"{saved / 'data.pt'} cannot be read" in refusal(config)


def test_an_empty_tracker_file(config, saved):
    tracker = saved.parent / checkpoint.TRACKER
    tracker.write_text("")
    prepare_config(config)
    assert tracker.read_text() == "3"
