"""ANLS by hand, and against the package of that name."""

import json
import random

import pytest
from anls.metrics import anls_score

from recap_verl.objectives import ObjectiveError, get_objective


def score(answer, truth, **options):
    return get_objective("anls", **options)(f"<answer>{answer}</answer>", truth)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("canada", "canada", 1.0),
        ("  CANADA\n", "Canada", 1.0),
        ("new   york", "New York", 1.0),
        ("newyork", "New York", 7 / 8),
        ("cannada", "canada", 6 / 7),
        ("kitten", "sitting", 4 / 7),  # 3 edits in 7
        ("ab", "ac", 0.0),  # NL = 0.5 is not below 0.5
        ("abc", "abd", 2 / 3),
        ("abcd", "efgh", 0.0),
        ("", "canada", 0.0),
        ("canada", '["usa", "canada"]', 1.0),
        ("canad", ["usa", "canada"], 5 / 6),
        ("12", 12, 1.0),
        ("12%", "12 %", 3 / 4),
    ],
)
def test_by_hand(answer, truth, expected):
    assert score(answer, truth) == pytest.approx(expected)


def test_threshold():
    assert score("ab", "ac", threshold=0.6) == 0.5
    assert score("ax", "ab", threshold=1) == 0.5
    assert score("xy", "ab", threshold=1) == 0.0
    assert score("abcdefghij", "abcdefghix", threshold=0.05) == 0.0
    for threshold in (0.0, -1, 1.1):
        with pytest.raises(ObjectiveError, match="option 'threshold' must be above 0 and at most 1"):
            score("a", "a", threshold=threshold)


def test_where_the_answer_is():
    assert get_objective("anls")("canada", "canada") == 0.0
    assert get_objective("anls", tag=False)("<think>usa?</think> Canada", "canada") == 1.0


def test_ten_thousand_pairs_as_in_the_anls_package():
    rng = random.Random(0)
    letters, seen = "abcAB 1é\n", set()
    for _ in range(10_000):
        truths = ["".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(rng.randint(1, 3))]
        answer = list(rng.choice(truths))
        for _ in range(rng.randint(0, 4)):
            answer[rng.randrange(len(answer)) : rng.randrange(len(answer) + 1)] = rng.choice(letters)
        expected = anls_score("".join(answer), truths)
        seen.add(expected)
        assert score("".join(answer), json.dumps(truths)) == pytest.approx(expected)
    assert len(seen) > 10
