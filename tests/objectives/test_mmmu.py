"""MMMU's rules, by hand."""

import pytest

from recap_verl.objectives import get_objective
from recap_verl.objectives.mmmu import chosen_letter, conclusions

CHOICES = ["red fish", "blue", "Green tree", "12"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("The answer is B.", "B"),
        ("(A) no, rather (C)", "C"),  # the last of several
        ("A or (B)", "B"),  # parentheses first
        ("A and B and A", "A"),
        ("I think it must be the red fish", "A"),
        ("First I said RED FISH but then the green tree", "C"),
        ("it must be red fish", None),  # texts only count in more than five words
        ("red fish it is I am sure", "A"),
        ("E", None),
        ("B, because", None),  # neither in parentheses nor between spaces
        ("", None),
        ("b", None),
    ],
)
def test_letters(text, letter):
    assert chosen_letter(text, CHOICES) == letter


def test_an_empty_option_is_never_named_by_its_text():
    assert chosen_letter("some words that name no option at all", ["", "x y z"]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", {12.0}),
        ("The result is 12.5 kg", {"12.5 kg", 12.5}),
        ("So x = 4", {4.0}),  # the shortest text behind a phrase, in the last line also behind `=`
        ("x = 4\nthat is all", {"all"}),
        ("Paris.", {"paris"}),
        ("between 2,5 and -7", {"between 2,5 and -7", 5.0, -7.0}),
        ("x", {" x", "x "}),
        ("3.14159", {3.14}),
        ("answer ", {"answer"}),
        ("is :\n7", {"is :\n7", 7.0}),  # nothing but a mark is no conclusion
        # The patterns leave fragments of long numbers, as published.
        ("1,234,567 people", {"1,234,567 people", 1234567.0, 567.0}),
        ("final 1.5e3 m", {"1.5e3 m", 1500.0, 1.0, 3.0}),
    ],
)
def test_conclusions(text, expected):
    assert set(conclusions(text)) == expected


def score(answer, truth, extra_info=None, **options):
    return get_objective("mmmu", **options)(f"<answer>{answer}</answer>", truth, extra_info or {})


def test_multiple_choice():
    row = {"choices": CHOICES}
    assert score("The answer is (B)", "B", row) == 1.0
    assert score("The answer is (C)", "B", row) == 0.0


def test_nothing_is_drawn_by_lot():
    assert {score("no idea", letter, {"choices": CHOICES}) for letter in "ABCD" for _ in range(50)} == {0.0}


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("The result is 12.504", "12.5", 1.0),
        ("The result is 12.51", "12.5", 0.0),
        ("So it is 1,234 dollars", "1234", 1.0),
        ("It is the Eiffel tower", "eiffel tower", 1.0),
        ("It is the tower", "eiffel tower", 0.0),
        ("maybe 12\nThe answer is 13", "12", 0.0),  # only what is behind a phrase counts
        ("The answer is 13", '["12", "13"]', 1.0),
        ("It is x squared", "x", 1.0),
        ("It is exactly so", "x", 0.0),  # a single letter needs a space beside it
        ("", "12", 0.0),
        ("so " + "9" * 101, "9" * 101, 1.0),  # text at this length
    ],
)
def test_open_questions(answer, truth, expected):
    assert score(answer, truth) == expected
    assert score(answer, truth, {"choices": [], "question_type": "open"}) == expected


def test_open_overrides_choices():
    assert score("(B)", "B", {"choices": CHOICES}) == 1.0
    assert score("(B)", "B", {"choices": CHOICES, "question_type": "open"}) == 0.0


def test_where_the_answer_is():
    assert get_objective("mmmu")("B", "B", {"choices": CHOICES}) == 0.0
    assert get_objective("mmmu", tag=False)("<think>(C)?</think> I choose (B).", "B", {"choices": CHOICES}) == 1.0
