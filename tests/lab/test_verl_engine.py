"""An arm's verl run has the arm's settings, and its metrics come back as records."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_config import composed

from recap_verl.lab.arms import ARMS, kl_factor, recap_section
from recap_verl.lab.study import Study
from recap_verl.lab.verl_engine import RunFailed, records, run_overrides, train
from recap_verl.report.load import Metrics

STUDY = Study(steps=7, prompts=4, rollouts=3)


def overrides(name: str, mixture=None) -> list[str]:
    arm = ARMS[name]
    section = recap_section(arm, {"mixture": mixture, "scheduler": {"window": 4}} if mixture else {})
    paths = (Path("model"), [Path("a.parquet"), Path("b.parquet")], Path("val.parquet"), Path("domains.yaml"))
    return run_overrides(*paths, section, STUDY, 5, kl_factor(arm), Path("run"))


@pytest.mark.parametrize("name", ARMS)
def test_hydra_composes_the_arms_section(name):
    config = composed("recap_trainer_cpu", *overrides(name))
    section = OmegaConf.to_container(config.recap)
    expected = OmegaConf.to_container(recap_section(ARMS[name]))
    assert section.pop("seed") == 5 and Path(section.pop("domains_file")).name == "domains.yaml"
    section.pop("poll_interval")
    assert section == {key: value for key, value in expected.items() if key in section}
    actor = config.actor_rollout_ref.actor
    assert (actor.use_kl_loss, actor.optim.lr, actor.ppo_mini_batch_size) == (name == "lwf", STUDY.learning_rate, 4)
    assert config.actor_rollout_ref.rollout.n == 3 and config.trainer.total_training_steps == 7


def test_a_mixture_with_shares_survives_the_command_line():
    config = composed("recap_trainer_cpu", *overrides("uniform", {"a": 1.0, "self": 0.5}))
    assert config.recap.mixture == {"a": 1.0, "self": 0.5} and config.recap.scheduler.window == 4


@pytest.mark.parametrize(
    ("users", "threads", "expected"), [(None, 1, ("1", "8")), (None, None, (None, None)), ("3", 1, ("3", "8"))]
)
def test_a_run_has_the_laboratorys_threads_unless_the_user_says_otherwise(
    monkeypatch, tmp_path, users, threads, expected
):
    started = []

    def run(command, env, **_):
        started.append((env.get("OMP_NUM_THREADS"), env.get("RECAP_TRAINER_THREADS")))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in ("OMP_NUM_THREADS", "RECAP_TRAINER_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    section = recap_section(ARMS["uniform"])
    paths = (Path("model"), [Path("a.parquet")], Path("val.parquet"))
    with pytest.raises(RunFailed, match=r"status 1.*log\.txt"):
        train(*paths, {}, section, STUDY, 5, 0.0, tmp_path / "run", tmp_path / "scores.json", threads)
    assert started == [expected]


def test_the_base_is_validated_once(monkeypatch, tmp_path):
    asked = []

    def run(command, env, **_):
        asked.append("trainer.val_before_train=true" in command)
        logged = {"recap/weight/iou": 0.5} | ({} if len(asked) == 1 else {"val-aux/a/recap_objective/iou/mean@1": 0.75})
        lines = [{"step": 7, "data": logged}]
        if asked[-1]:
            lines.insert(0, {"step": 0, "data": {"val-aux/a/recap_objective/iou/mean@1": 0.25}})
        Path(env["VERL_FILE_LOGGER_PATH"]).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    section = recap_section(ARMS["uniform"])
    paths = (Path("model"), [Path("a.parquet")], Path("val.parquet"))
    scores = tmp_path / "scores.json"
    first, second = (train(*paths, {}, section, STUDY, seed, 0.0, tmp_path / f"run-{seed}", scores) for seed in (1, 2))
    assert asked == [True, False]
    base = (0, "a", "greedy", "iou", 0.25)
    assert first == [base, (7, "", "train", "weight/iou", 0.5)]
    assert second == [base, (7, "", "train", "weight/iou", 0.5), (7, "a", "greedy", "iou", 0.75)]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["scores.json"]
    scores.unlink()
    (tmp_path / "run-2" / "checkpoints").mkdir()
    (tmp_path / "run-2" / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("7")
    with pytest.raises(RunFailed, match=r"scores\.json.*is gone"):
        train(*paths, {}, section, STUDY, 2, 0.0, tmp_path / "run-2", scores)


def test_verls_metrics_become_records():
    logged = {
        0: {
            "val-aux/lab/a/recap_objective/iou/mean@1": 0.25,
            "val-core/lab/a/acc/mean@1": 0.25,
            "recap/weight/iou": 1.0,
        },
        3: {
            "recap/weight/iou": 0.5,
            "recap/convergence/a/iou": 1.5,
            "recap/reward/a/iou": 0.75,
            "recap/loss/b/ntp": 2.0,
            "recap/token_accuracy/b": 0.5,
            "response_length/mean": 12.0,
            "timing_s/step": 3.0,
            "actor/lr": 1.0,
        },
    }
    assert list(records(Metrics(logged, 0))) == [
        (0, "lab/a", "greedy", "iou", 0.25),
        (3, "", "train", "weight/iou", 0.5),
        (3, "", "train", "convergence/a/iou", 1.5),
        (3, "a", "train", "reward/iou", 0.75),
        (3, "b", "train", "loss/ntp", 2.0),
        (3, "b", "train", "token_accuracy", 0.5),
        (3, "", "train", "response_length", 12.0),
        (3, "", "train", "time/step", 3.0),
    ]
