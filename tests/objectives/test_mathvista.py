"""MathVista's rules, by hand."""

import json

import pytest

from recap_verl.objectives import ObjectiveError, get_objective

CHOICES = ["3/11", "8/11", "6/11", "3/5"]
CHOICE = {"question_type": "multi_choice", "answer_type": "text", "choices": CHOICES}
INTEGER = {"question_type": "free_form", "answer_type": "integer"}
FLOAT = {"question_type": "free_form", "answer_type": "float", "precision": 2.0}
LIST = {"question_type": "free_form", "answer_type": "list"}
TEXT = {"question_type": "free_form", "answer_type": "text"}


def score(answer, truth, row):
    return get_objective("mathvista")(f"<answer>{answer}</answer>", truth, row)


@pytest.mark.parametrize(
    ("answer", "truth", "row", "expected"),
    [
        ("8/11", "8/11", CHOICE, 1.0),
        ("B", "8/11", CHOICE, 1.0),
        ("(b) 8/11", "8/11", CHOICE, 1.0),
        ("The correct answer is (B) 8/11.", "8/11", CHOICE, 1.0),
        ("B. 8/11", "8/11", CHOICE, 1.0),
        (r"\boxed{B}", "8/11", CHOICE, 1.0),
        ("A", "8/11", CHOICE, 0.0),
        ("88/11", "8/11", CHOICE, 1.0),  # the nearest: one edit, all others at least two
        ("3/51", "3/11", CHOICE, 1.0),  # the first of two at one edit
        ("", "3/11", CHOICE, 0.0),  # nothing is nearest to nothing
        ("(F)", "3/5", CHOICE, 1.0),  # no such letter: the nearest text to F, which is the shortest
        ("A", "3/11", CHOICE, 1.0),
        ("D", "3/5", CHOICE, 1.0),
        ("14", "14", INTEGER, 1.0),
        ("14.9", "14", INTEGER, 1.0),  # cut off
        ("-3", "-3", INTEGER, 1.0),
        ("1,234", "1234", INTEGER, 1.0),
        ("The number missing is 14.", "14", INTEGER, 1.0),
        ("14 of 20", "14", INTEGER, 0.0),  # the last number
        ("2007-2008", "2008", INTEGER, 1.0),
        ("fourteen", "14", INTEGER, 0.0),
        ("1e999", "14", INTEGER, 0.0),
        ("nan", "14", INTEGER, 0.0),
        ("1.45", "1.45", FLOAT, 1.0),
        ("$1.449", "1.45", FLOAT, 1.0),
        ("1.44", "1.45", FLOAT, 0.0),
        ("1.2", "1.20", FLOAT, 1.0),
        (".5", "0.50", FLOAT, 1.0),
        ("5.", "5", FLOAT, 1.0),
        ("1.5e+1", "15", FLOAT, 1.0),
        ("+1.45", "1.45", FLOAT, 1.0),
        ("-1.45", "1.45", FLOAT, 0.0),
        ("none", "1.45", FLOAT, 0.0),
        ("1.7", "2", {**FLOAT, "precision": 0}, 1.0),
        ("1.123456789012344", "1.123456789012345", {**FLOAT, "precision": 15}, 0.0),
        ("[2007, 2008]", "[2007, 2008]", LIST, 1.0),
        ("between [2007,2008].", "[2007, 2008]", LIST, 1.0),
        ("[2007, 2009]", "[2007, 2008]", LIST, 0.0),
        ("2007", "[2007, 2008]", LIST, 0.0),
        ("[2007, 2008] they say", "[2007, 2008]", LIST, 1.0),
        ("[1] or ]rather[ [2007, 2008]", "[2007, 2008]", LIST, 1.0),
        ("[7]", "7", LIST, 0.0),
        ("left", "left", TEXT, 1.0),
        ("Left", "left", TEXT, 0.0),
        ("", "left", TEXT, 0.0),
    ],
)
def test_by_hand(answer, truth, row, expected):
    assert score(answer, truth, row) == expected
    assert score(answer, json.dumps(truth), {"metadata": json.dumps(row)}) == expected


def test_where_the_answer_is():
    assert get_objective("mathvista")("14", "14", INTEGER) == 0.0
    assert get_objective("mathvista", tag=False)("<think>13</think> It is 14.", "14", INTEGER) == 1.0


@pytest.mark.parametrize(
    ("truth", "row", "message"),
    [
        ("14", {}, "mathvista needs 'answer_type'"),
        ("14", {"answer_type": "number"}, "'answer_type' must be one of text, integer, float, list"),
        ("1.5", {"answer_type": "float"}, "needs 'precision'"),
        ("1.5", {**FLOAT, "precision": -1}, "'precision' must be a number of decimals"),
        ("1.5", {**FLOAT, "precision": 16}, "'precision' must be a number of decimals"),
        ("1.5", {**FLOAT, "precision": 1.5}, "'precision' must be a number of decimals"),
        ("1.5", {**FLOAT, "precision": "two"}, "'precision' must be a number of decimals"),
        ("1.5", {**FLOAT, "precision": float("nan")}, "'precision' must be a number of decimals"),
        ("A", {"question_type": "multi_choice"}, "mathvista needs 'choices'"),
        ("many", INTEGER, "is not of the answer_type"),
    ],
)
def test_mistakes_of_a_row_are_named(truth, row, message):
    with pytest.raises(ObjectiveError, match=message):
        score("14", truth, row)
