"""Configurations of runs that are ready to go."""

import copy

import pytest
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
