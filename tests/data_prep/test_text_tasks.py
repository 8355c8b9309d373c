"""Text tasks: right answers, splits that never meet, worked examples that are in none of them."""

import json

import pytest

from data_prep.rows import SPLITS
from data_prep.text_tasks import DEFAULT_TASKS, TEXT_TASKS, draw_questions, rows, text_task
from recap_verl.objectives import get_objective

RIGHT = {
    "larger": lambda question: str(max(int(question[:2]), int(question[-2:]))),
    "sum": lambda question: str(int(question[0]) + int(question[-1])),
    "repeat": lambda question: question,
    "capitals": lambda question: {"France": "Paris", "Japan": "Tokyo"}.get(question[23:-1]),
    "upper": str.upper,
    "last": lambda question: question.rpartition(" ")[2],
    "first": lambda question: question.partition(" ")[0],
}


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_every_answer_is_right_and_every_question_is_there_once(name):
    questions = TEXT_TASKS[name].questions()
    assert len(dict(questions)) == len(questions)
    checked = [answer == RIGHT[name](question) for question, answer in questions if RIGHT[name](question)]
    assert checked and all(checked)


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_no_question_is_in_two_splits_whatever_the_seed(name):
    asked = {}
    for split in SPLITS:
        examples, train = draw_questions(TEXT_TASKS[name], split, seed=1)
        _, other = draw_questions(TEXT_TASKS[name], split, seed=2)
        assert sorted(train) == sorted(other)
        asked[split] = set(train)
        assert train and asked[split].isdisjoint(examples)
    assert asked["train"].isdisjoint(asked["val"] | asked["test"])
    assert asked["val"].isdisjoint(asked["test"])
    assert len(asked["train"] | asked["val"] | asked["test"]) + 4 == len(TEXT_TASKS[name].questions())


@pytest.mark.parametrize("name", ["larger", "sum", "repeat", "last", "first"])
def test_no_question_is_another_one_in_another_order(name):
    questions = [question for question, _ in TEXT_TASKS[name].questions()]
    assert len({tuple(sorted(question.split())) for question in questions}) == len(questions)


def test_rows_are_drawn_by_the_seed():
    def drawn(seed):
        return [row["extra_info"]["question"] for row in rows("train", ["last"], seed, 20)]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_a_row_shows_four_examples_and_its_answer_scores_one():
    drawn = list(rows("val", DEFAULT_TASKS, 0, 5))
    assert [row["data_source"] for row in drawn[::5]] == [f"text/{name}" for name in DEFAULT_TASKS]
    assert [row["extra_info"]["index"] for row in drawn] == list(range(len(drawn)))
    exact_match = get_objective("exact_match")
    for row in drawn:
        roles = [turn["role"] for turn in row["prompt"]]
        assert roles == ["system", *["user", "assistant"] * 4, "user"]
        assert row["prompt"][-1]["content"] == row["extra_info"]["question"]
        assert all(row["prompt"][-1] != turn for turn in row["prompt"][:-1])
        truth = row["reward_model"]["ground_truth"]
        assert exact_match(f"<answer>{json.loads(truth)}</answer>", truth) == 1.0
        assert exact_match("<answer>nothing</answer>", truth) == 0.0


def test_a_task_is_added_by_a_decorated_function(monkeypatch):
    monkeypatch.setattr("data_prep.text_tasks.TEXT_TASKS", dict(TEXT_TASKS))
    with pytest.raises(ValueError, match="'last' is registered already"):
        text_task("last", ability="x", instruction="x")(list)
    text_task("count", ability="x", instruction="Count.")(lambda: [("x" * n, str(n)) for n in range(1, 50)])
    assert next(rows("train", ["count"], 0, 1))["data_source"] == "text/count"


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="unknown text task 'lats': choose from larger"):
        next(rows("train", ["lats"], 0, 1))
