"""Accuracy, by hand: what is right, and what looks right to a symbolic parser but is not."""

import json

import numpy as np
import pytest

from recap_verl.objectives import ObjectiveError, acceptable_answers, collect_events, get_objective

accuracy = get_objective("accuracy")


def score(answer, truth, **options):
    return get_objective("accuracy", **options)(f"<think>Well, 99.</think><answer>{answer}</answer>", truth, {})


RIGHT = [
    ("12", "12"),
    (" 12. ", "12"),
    ("12.0", "12"),
    ("0.3333333", "0.333333"),
    ("1/2", "0.5"),
    (r"$\frac{1}{2}$", "1/2"),
    (r"\boxed{\frac12}", "0.5"),
    ("x = 12", "12"),
    ("12", "x = 12"),
    ("12 cm", "12"),
    ("The answer is 12.", "12"),
    (r"so we get $x = \frac{3}{4}$", "0.75"),
    ("1,234", "1234"),
    ("1 234", "1,234"),
    ("$12.50", "12.5"),
    ("50%", r"50\%"),
    ("50%", "1/2"),
    ("50 percent", "50%"),
    ("30°", r"30^\circ"),
    ("(x+1)^2", "x^2 + 2x + 1"),
    ("x**2", "x^2"),
    ("2pi", r"2\pi"),
    ("√12", r"2\sqrt{3}"),
    ("3 1/2", "3.5"),
    ("1e-3", "0.001"),
    ("2, 1", "1, 2"),
    ("3 > x", "x < 3"),
    ("[0, 1]", "[0,1]"),
    ("(3.0, -1)", "(3, -1)"),
    (r"\begin{pmatrix} 2/2 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("12 apples", "12 apples"),
    ("12", "12 apples"),
    ("There are 12 apples", "12 apples"),
    ("1 meter", "1.0 meters"),
    ("Paris", "paris"),
    ("left.", "left"),
    (r"\text{Monday}", "Monday"),
    ("x", "x"),
]

WRONG = [
    ("13", "12"),
    ("0.0000002", "0.0000001"),  # equal after rounding to six decimals
    ("0.334", "1/3"),
    ("51%", "50%"),
    ("act", "cat"),  # c*a*t
    ("y^3 + 1", "1"),  # the last number of an unread formula
    ("y^3 + 1", "x^2 + 1"),
    ("(0,1)", "[0,1]"),
    ("(5, 2)", "(3, -1)"),  # read as intervals, both are empty
    ("(-1, 3)", "(3, -1)"),
    (r"\begin{pmatrix}1\\3\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("3 or 4", "4"),
    ("Table 3", "Figure 3"),
    ("7", "Galaxy 7"),
    ("12 pears", "12 apples"),
    ("13 apples", "12 apples"),
    ("twelve", "12"),
    ("no idea", "12"),
    ("X", "x"),
    ("", "12"),
    ("", ""),
    ("0", ""),
]


@pytest.mark.parametrize(("answer", "truth"), RIGHT)
def test_right(answer, truth):
    assert score(answer, truth) == 1.0


@pytest.mark.parametrize(("answer", "truth"), WRONG)
def test_wrong(answer, truth):
    assert score(answer, truth) == 0.0


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("B", "B", 1.0),
        ("(B)", "B", 1.0),
        ("B. a cat", "B", 1.0),
        ("The answer is B.", "B", 1.0),
        (r"\text{B}", "B", 1.0),
        ("$B$", "B", 1.0),
        ("B", "(B)", 1.0),
        ("A or rather C", "C", 1.0),
        ("A or rather C", "A", 0.0),
        ("A", "A", 1.0),
        ("A is right", "A", 1.0),
        ("A dog", "A", 0.0),
        ("B. A dog", "B", 1.0),
        ("B. A dog", "A", 0.0),
        ("BAD", "B", 0.0),
        ("b", "B", 0.0),
        ("Bob", "B", 0.0),
        ("It's 25 °C", "C", 0.0),
        ("Don't know", "D", 0.0),
        ("2", "B", 0.0),
        ("I", "I", 1.0),
        ("A or I", "I", 0.0),
        ("C", "cat", 0.0),
    ],
)
def test_option_letters(answer, truth, expected):
    assert score(answer, truth) == expected


@pytest.mark.parametrize(
    ("truth", "answers"),
    [
        ('"12"', ["12"]),
        ('["a", "b"]', ["a", "b"]),
        ("12", ["12"]),
        ('"', ['"']),
        ("[0, 1]", ["[0, 1]"]),
        ('["a", 1]', ['["a", 1]']),
        (12, ["12"]),
        (np.int64(12), ["12"]),
        (0.5, ["0.5"]),
        (["a", 2], ["a", "2"]),
        (("a",), ["a"]),
        (np.array(["a", "b"]), ["a", "b"]),
        ("[" * 100_000, ["[" * 100_000]),
    ],
)
def test_decoding_of_truths(truth, answers):
    assert acceptable_answers(truth) == answers


@pytest.mark.parametrize("truth", [None, [], "[]", {"a": 1}, float("nan"), [None]])
def test_truths_that_are_none(truth):
    with pytest.raises(ObjectiveError, match="objective 'accuracy' raised ValueError: ground_truth"):
        score("12", truth)


def test_any_of_several_truths():
    assert score("four", ["4", "four"]) == 1.0
    assert score("8/2", json.dumps(["four", "4"])) == 1.0
    assert score("5", ["4", "four"]) == 0.0
    assert score("12", json.dumps("12")) == 1.0


def test_where_the_answer_is_found():
    assert accuracy("<answer>1</answer><answer>2</answer>", "2", {}) == 1.0
    assert accuracy("<answer>1</answer><answer>2</answer>", "1", {}) == 0.0
    assert accuracy("<answer><answer>2</answer></answer>", "2", {}) == 1.0
    assert accuracy("<answer>2</answer> or 3", "3", {}) == 0.0
    assert accuracy("<think>maybe 3</think> 2", "2", {}) == 1.0
    assert accuracy("<think>maybe 3</think> I give up", "3", {}) == 0.0
    assert accuracy(r"Long story. \boxed{2} It was 3.", "2", {}) == 1.0
    assert accuracy(r"\boxed{1} then \boxed{\frac{4}{2}}", "2", {}) == 1.0
    assert accuracy("The answer is 2", "2", {}) == 1.0
    assert get_objective("accuracy", require_tag=True)("The answer is 2", "2", {}) == 0.0


def test_timeout_zero_switches_symbolic_comparison_off():
    assert score("1/2", "0.5", timeout=0) == 0.0
    assert score("0.50", "0.5", timeout=0) == 1.0


def test_a_long_answer_is_counted_and_not_parsed():
    with collect_events() as events:
        assert score("1+" * 600 + "1", "601") == 0.0
    assert events == {"symbolic_skipped_long": 1}
    with collect_events() as events:
        assert score("word " * 600, "a word") == 0.0
        assert score("word " * 600 + "B", "B") == 1.0
    assert not events
