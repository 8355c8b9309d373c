import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_verl.self_replay.filters import fault, repeated_share, sift
from recap_verl.self_replay.parts import Answer
from recap_verl.self_replay.settings import Filters


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0.0),
        ([1, 1, 1], 0.0),  # No run of four.
        ([1, 1, 1, 1, 1], 0.5),  # Two runs, the second a repeat.
        ([1, 2, 3, 4, 5, 6, 7, 8], 0.0),
        ([1, 2, 3, 4, 1, 2, 3, 4], 0.2),  # Of five runs only the last occurred before.
        ([7] * 103, 0.99),
    ],
)
def test_repeated_share_counts_runs_that_occurred_before(tokens, share):
    assert repeated_share(tokens) == pytest.approx(share)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_repeated_share_agrees_with_counting_one_by_one(tokens):
    grams = [tokens[i : i + 4] for i in range(len(tokens) - 3)]
    repeats = sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert repeated_share(tokens) == pytest.approx(repeats / len(grams) if grams else 0)


def ended(tokens, text="words"):
    return Answer(0, 0, text, [*tokens, 99], ended=True)


@pytest.mark.parametrize(
    ("answer", "filters", "reason"),
    [
        (ended([1, 2]), {}, None),
        (Answer(0), {}, "prompt too long"),
        (Answer(0, 0, "words", [1, 2]), {}, "cut"),
        (Answer(0, 0, "words", [1, 2]), {"keep_cut": True}, None),
        (ended([]), {}, "short"),
        (ended([], text=""), {}, "empty"),
        (ended([1], text=" \n"), {}, "empty"),
        (ended([1, 2]), {"min_tokens": 3}, "short"),  # The token that ends the turn does not count.
        (ended([1, 2, 3]), {"min_tokens": 3}, None),
        (ended([1] * 5), {}, None),  # Exactly half.
        (ended([1] * 6), {}, "repetitive"),
        (ended([1] * 6), {"max_repetition": 1.0}, None),
        (ended([1, 2, 3, 4, 1, 2, 3, 4]), {"max_repetition": 0.0}, "repetitive"),
    ],
)
def test_fault(answer, filters, reason):
    assert fault(answer, Filters(**filters)) == reason


def test_of_equal_samples_the_first_that_is_kept_stays():
    cut = Answer(0, 0, "same", [1, 2])
    answers = [cut, ended([1, 2], "same"), ended([1, 2], "other"), ended([3], "same")]
    assert [reason for _, reason in sift(answers, Filters())] == ["cut", None, None, "duplicate"]
