"""VQA accuracy: the normalisation by hand, the mean over the people left out by brute force."""

import json
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_verl.objectives import ObjectiveError, get_objective
from recap_verl.objectives.vqa_text import normalized, normalized_for_evalai


def score(answer, people, **options):
    return get_objective("vqa_accuracy", **options)(f"<answer>{answer}</answer>", people)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("U.S.", "us"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("Two", "2"),
        ("ten cats", "10 cats"),
        ("eleven", "eleven"),
        ("none", "0"),
        ("the cat", "cat"),
        ("A cat and an owl", "cat and owl"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("girl's", "girl's"),
        ("well", "well"),
        ("2:50 pm", "2:50 pm"),
        ("100,978", "100978"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("t-shirt", "t shirt"),
        ("t- shirt and t-shirt", "t shirt and tshirt"),  # the mark has a space beside it somewhere
        ("1,000 t-shirts", "1000 tshirts"),  # and so has every mark, for a comma in a number
        (" two\n\twords ", "2 words"),
        ("???", ""),
        ("", ""),
    ],
)
def test_normalisation(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("red,blue", "redblue"), ("girl's", "girl 's"), ("Yes?", "yes"), ("Girl'S", "girl 's"), ("The dog's", "dog 's")],
)
def test_the_variant_of_evalai(text, expected):
    assert normalized_for_evalai(text) == expected


@given(st.text())
def test_normal_texts_have_no_marks_left(text):
    assert not set(normalized(text)) & set(';/[]"{}()=+\\_-><@`,?!\n\t')


@pytest.mark.parametrize(
    ("agreeing", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)]
)
def test_the_known_values_for_ten_people(agreeing, expected):
    """1 person: nine of the ten subsets see 1/3; 3 people: seven see 1, three see 2/3."""
    people = ["Soup."] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert score("the soup", json.dumps(people)) == pytest.approx(expected)


def test_ten_thousand_rows_by_brute_force():
    rng = random.Random(0)
    words = {"yes": "yes", "no": "no", "two": "2", "2": "2", "the cat": "cat", "cat": "cat", "Cat.": "cat"}
    for _ in range(10_000):
        people = rng.choices(list(words), k=rng.choice((2, 5, 10)))
        answer = rng.choice(list(words))
        normal = [words[person] for person in people]
        left_out = [normal[:index] + normal[index + 1 :] for index in range(len(normal))]
        expected = statistics.fmean(min(others.count(words[answer]) / 3, 1) for others in left_out)
        assert score(answer, people) == pytest.approx(expected)


def test_normalisations_differ():
    people = ["red,blue"] * 10
    assert score("red blue", people) == 1.0
    assert score("red blue", people, normalization="evalai") == 0.0
    with pytest.raises(ObjectiveError, match="option 'normalization' must be one of vqa, evalai"):
        score("a", people, normalization="squad")


def test_one_person_cannot_be_left_out():
    with pytest.raises(ObjectiveError, match="answers of several people"):
        score("yes", "yes")


def test_where_the_answer_is():
    assert get_objective("vqa_accuracy")("yes", ["yes"] * 10) == 0.0
    assert get_objective("vqa_accuracy", tag=False)("<think>no</think>yes", ["yes"] * 10) == 1.0
