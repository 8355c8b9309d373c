"""Configurations of runs that are ready to go."""

import copy
from collections.abc import Iterator

import hybrid_step
import pytest
import transfer_queue as tq
from omegaconf import open_dict
from run_config import DOMAINS, change, composed, row, write_rows


@pytest.fixture(scope="module")
def pristine():
    return composed("recap_trainer")


@pytest.fixture
def config(pristine, tmp_path):
    """A run that is ready to go: two trained domains of 6 rows each and a probe."""
    config = copy.deepcopy(pristine)
    train = [row(source, i) for i in range(6) for source in ("toy/math", "toy/ocr")]
    change(
        config,
        **{
            "data.train_files": write_rows(tmp_path / "train.parquet", train),
            "data.val_files": write_rows(tmp_path / "val.parquet", [row("toy/quiz", 0), row("toy/math", 1)]),
            "data.train_batch_size": 4,
            "actor_rollout_ref.rollout.n": 4,
            "trainer.default_local_dir": str(tmp_path / "checkpoints"),
            "recap.domains": DOMAINS,
            "algorithm.adv_estimator": "grpo",
        },
    )
    return config


@pytest.fixture
def queue(monkeypatch) -> hybrid_step.Queue:
    queue = hybrid_step.Queue()
    monkeypatch.setattr(tq, "kv_batch_get", queue.kv_batch_get)
    monkeypatch.setattr(tq, "kv_batch_put", queue.kv_batch_put)
    return queue


@pytest.fixture
def rows(queue) -> hybrid_step.Rows:
    return hybrid_step.Rows(queue)


@pytest.fixture
def trainer(pristine, queue) -> Iterator:
    """A function from settings to a trainer; mini-batches are of 3 prompts."""

    def build(ranks: int = 1, micro_batch: int = 2, critic: bool = False, **overrides) -> hybrid_step.Trainer:
        config = copy.deepcopy(pristine)
        defaults = {
            "recap.domains": hybrid_step.DOMAINS,
            "recap.weight_per": "domain_objective",
            "recap.scheduler.preset": "static",
            "algorithm.adv_estimator": "grpo",
            "actor_rollout_ref.rollout.n": hybrid_step.N,
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 1,
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 1,
            "actor_rollout_ref.actor.ppo_mini_batch_size": 3,
            "actor_rollout_ref.actor.loss_scale_factor": hybrid_step.HORIZON,
        }
        with open_dict(config):
            change(config, **{**defaults, **overrides})
        return hybrid_step.Trainer(config, hybrid_step.Workers(queue, config, ranks, micro_batch), critic)

    return build
