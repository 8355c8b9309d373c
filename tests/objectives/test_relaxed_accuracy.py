"""ChartQA's relaxed accuracy, by hand and against exact arithmetic."""

import random
from fractions import Fraction

import pytest

from recap_verl.objectives import get_objective


def score(answer, truth, **options):
    return get_objective("relaxed_accuracy", **options)(f"<answer>{answer}</answer>", truth)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("100", "100", 1.0),
        ("105", "100", 1.0),
        ("95", "100", 1.0),
        ("105.01", "100", 0.0),
        ("94.99", "100", 0.0),
        ("-95", "-100", 1.0),
        ("100", "-100", 0.0),
        ("1e2", "100", 1.0),
        (" 100 ", "100", 1.0),
        ("2100", "2014", 1.0),  # years too
        ("50%", "0.5", 1.0),
        ("0.5", "50%", 1.0),
        ("51%", "50%", 1.0),
        ("50%", "50", 0.0),
        ("0", "0", 1.0),
        ("0.0", "0", 0.0),  # a truth of 0 is text
        ("0.001", "0", 0.0),
        ("Yes", "yes", 1.0),
        ("yes.", "yes", 0.0),
        ("blue line", "blue", 0.0),
        ("1,234", "1234", 0.0),
        ("1,234", "1,234", 1.0),
        ("12 apples", "12", 0.0),
        ("nan", "12", 0.0),
        ("inf", "12", 0.0),
        ("-inf", "inf", 0.0),
        ("", "12", 0.0),
        ("%", "12", 0.0),
        ("4", ["3", "4"], 1.0),
        ("4", '["3", "four"]', 0.0),
        ("9" * 500, "9" * 500, 1.0),  # text at this length
        ("9" * 500, "1" * 500, 0.0),
    ],
)
def test_by_hand(answer, truth, expected):
    assert score(answer, truth) == expected


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("1,234", "1234", 1.0),
        (" $1,234. ", "1234", 1.0),
        (" yes . ", "yes", 0.0),
        ("1,23", "123", 0.0),
        ("yes.", "Yes", 1.0),
        ("€5", "£5", 1.0),
        ("12 apples", "12", 0.0),
    ],
)
def test_lenient(answer, truth, expected):
    assert score(answer, truth, lenient=True) == expected


def test_tolerance():
    assert score("110", "100", tolerance=0.1) == 1.0
    assert score("101", "100", tolerance=0) == 0.0


def test_where_the_answer_is():
    assert get_objective("relaxed_accuracy")("12", "12") == 0.0
    assert get_objective("relaxed_accuracy", tag=False)("<think>13</think> 12", "12") == 1.0


def test_ten_thousand_numbers_against_exact_arithmetic():
    rng = random.Random(0)
    outcomes = []
    for _ in range(10_000):
        truth = Fraction(rng.randint(-500, 500) or 1, 10)
        answer = truth * Fraction(rng.randint(900, 1100), 1000)
        if abs(answer - truth) * 20 == abs(truth):
            continue  # exactly 5 %: decided by the last bit of a float
        expected = abs(answer - truth) * 20 < abs(truth)
        outcomes.append(expected)
        assert score(repr(float(answer)), repr(float(truth))) == expected
    assert 0.3 < sum(outcomes) / len(outcomes) < 0.7
