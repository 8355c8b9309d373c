"""Option letters, read strictly."""

import json

import pytest

from recap_verl.objectives import ObjectiveError, get_objective
from recap_verl.objectives.multiple_choice import option_letter

CHOICES = ["a cat", "A  dog", "an owl"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("a", "A"),
        ("(B)", "B"),
        ("[B]", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("B:", "B"),
        ("**B**", "B"),
        ("** B **", "B"),
        ("$B$", "B"),
        (r"\boxed{B}", "B"),
        (r"I say \boxed{\text{B}}, not C.", "B"),
        (r"\text{(B)}", "B"),
        ("B. a dog", "B"),
        ("(B) a dog", "B"),
        ("B) a dog", "B"),
        ("B: a dog", "B"),
        ("B.\na dog", "B"),
        ("J", "J"),
        ("The answer is B", None),
        ("A dog", None),
        ("B or C", None),
        ("B, C", None),
        ("BC", None),
        ("b. a dog", None),
        ("U.S.", None),
        ("A.M.", None),
        ("12", None),
        ("", None),
        ("Б", None),
        ("()", None),
    ],
)
def test_letters(text, letter):
    assert option_letter(text) == letter


def score(answer, truth, extra_info=None, **options):
    return get_objective("multiple_choice", **options)(f"<answer>{answer}</answer>", truth, extra_info or {})


def test_scores():
    assert score("B. a dog", "B") == 1.0
    assert score("b", '"(B)"') == 1.0
    assert score("C", "B") == 0.0
    assert score("a dog", "B") == 0.0
    assert score("C", ["B", "C"]) == 1.0
    assert get_objective("multiple_choice")("B", "B") == 0.0
    assert get_objective("multiple_choice", tag=False)("<think>C?</think> B", "B") == 1.0


def test_texts_of_options():
    row = {"metadata": json.dumps({"choices": CHOICES})}
    assert score(" A  Dog", "B", row, accept_text=True) == 1.0
    assert score("a cat", "B", row, accept_text=True) == 0.0
    assert score("B", "B", row, accept_text=True) == 1.0
    assert score("a dog", "B", row) == 0.0


def test_mistakes_of_a_row_are_named():
    with pytest.raises(ObjectiveError, match="ground_truth must be the letter of an option, not '2'"):
        score("B", "2")
    with pytest.raises(ObjectiveError, match="ground_truth is option D, but 'choices' has 3 options"):
        score("B", "D", {"choices": CHOICES}, accept_text=True)
    with pytest.raises(ObjectiveError, match="'choices' must be a list"):
        score("B", "A", {"choices": "a, b"}, accept_text=True)
