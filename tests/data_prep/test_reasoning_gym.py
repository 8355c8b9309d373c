"""reasoning-gym rows, scored from what a parquet file holds of them."""

import sys

import pyarrow.parquet as pq
import pytest

from data_prep.check import check_files
from data_prep.reasoning_gym import DEFAULT_TASKS, rows, score
from data_prep.writer import write_parquet
from recap_verl.objectives import get_objective


def test_a_missing_package_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'recap-verl\[reasoning-gym\]'"):
        next(rows("train", ["chain_sum"], 0, 1))


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("reasoning_gym")

    def test_stored_answers_score_one_and_others_less(self, tmp_path):
        write_parquet(rows("train", DEFAULT_TASKS, 0, 3), tmp_path / "train.parquet")
        stored = pq.read_table(tmp_path / "train.parquet").to_pylist()
        assert len(stored) == 9
        objective = get_objective("data_prep.reasoning_gym:score")
        for row in stored:
            info, truth = row["extra_info"], row["reward_model"]["ground_truth"]
            assert objective(f"<think>so</think><answer> {info['answer']}\n</answer>", truth, info) == 1.0
            assert objective("<answer>none of these</answer>", truth, info) < 1.0
            assert score(info["answer"], truth, info) == 0.0, "no answer block"

    def test_the_checker_finds_nothing(self, tmp_path):
        for split in ("train", "val", "test"):
            write_parquet(rows(split, DEFAULT_TASKS, 0, 50), tmp_path / f"{split}.parquet")
        report = check_files(sorted(tmp_path.iterdir()))
        assert report.ok and not report.counts.total(), report

    def test_splits_share_no_question_and_repeat_none(self):
        questions = {
            split: [row["extra_info"]["question"] for row in rows(split, ["chain_sum"], 0, 30)]
            for split in ("train", "val", "test")
        }
        every = [question for drawn in questions.values() for question in drawn]
        assert len(every) == len(set(every)) == 90

    def test_equal_seeds_give_equal_rows(self):
        drawn = [list(rows("val", ["leg_counting"], seed, 4)) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]

    @pytest.mark.parametrize(
        ("task", "message"),
        [
            ("chain_some", "cannot make the task 'chain_some'"),
            ("composite", "cannot make the task 'composite'"),
            ("rearc", "'rearc' rejects its own answer when stored as JSON"),
        ],
    )
    def test_tasks_that_cannot_be_used_are_named(self, task, message):
        with pytest.raises(ValueError, match=message):
            list(rows("train", [task], 0, 2))
