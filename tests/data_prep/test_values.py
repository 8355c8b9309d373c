"""Options, boxes and copies: what sources hold is read as data, and what it is not is skipped."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.boxes import from_xywh, scaled_boxes, xyxy
from data_prep.copies import tagged, with_marks
from data_prep.errors import Skip
from data_prep.images import StoredImage
from data_prep.options import letter_at, letter_of, lettered, parse_list


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("['red','blue']", ["red", "blue"]),
        (' ["it\'s", "(0, 1)"] ', ["it's", "(0, 1)"]),
        ("('a', 'b')", ["a", "b"]),
        ("[1, 2.5]", ["1", "2.5"]),
        (["a", "b"], ["a", "b"]),
        ("[]", []),
    ],
)
def test_lists_are_read_however_they_are_written(value, options):
    assert parse_list(value) == options


@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('true')",
        "[open('/etc/passwd').read()]",
        "['a'] * 10**9",
        "red, blue",
        "{'a': 1}",
        "[['a'], 'b']",
        "[None]",
        "[" * 19_000,
        "-" * 19_000 + "1",
        "['" + "a" * 30_000 + "']",
        "\0",
        None,
        7,
    ],
)
def test_what_is_no_list_is_skipped_and_never_run(value):
    with pytest.raises(Skip, match="options"):
        parse_list(value)


@given(st.text())
def test_any_text_is_read_or_skipped(text):
    with contextlib.suppress(Skip):
        assert isinstance(parse_list(text), list)


@pytest.mark.parametrize(("index", "letter"), [(0, "A"), ("2", "C"), (2.0, "C")])
def test_index_answers(index, letter):
    assert letter_at(index, "abc") == letter


@pytest.mark.parametrize("index", [3, -1, "-1", None, "B", "", float("nan"), 10**30])
def test_an_answer_that_is_no_option_is_skipped(index):
    with pytest.raises(Skip, match="answer is no"):
        letter_at(index, "abc")


def test_text_answers():
    assert letter_of("b", ["a", "b"]) == "B"
    with pytest.raises(Skip, match="answer is no option"):
        letter_of("c", ["a", "b"])


def test_letters_stand_in_front():
    assert lettered(["red", "blue"]) == "A. red\nB. blue"
    for options in ([], ["one"], ["x"] * 27):
        with pytest.raises(Skip, match="number of options"):
            lettered(options)


def test_boxes_of_both_kinds():
    assert xyxy([1, 2.0, 3.456, 4]) == [1, 2, 3.46, 4]
    assert from_xywh([1, 2, 3, 4]) == [1, 2, 4, 6]


@pytest.mark.parametrize("value", [None, [1, 2, 3], [3, 0, 1, 5], [0, 0, 0, 5], [0, 0, float("inf"), 1], "1,2,3,4"])
def test_what_is_no_box_is_skipped(value):
    for read in (xyxy, from_xywh):
        if read is xyxy or value != [3, 0, 1, 5]:
            with pytest.raises(Skip, match="box"):
                read(value)


def test_boxes_follow_their_image():
    image = StoredImage(b"", 100, 50, 400, 200)
    assert scaled_boxes([40, 20, 400, 200], image) == [10, 5, 100, 50]
    assert scaled_boxes([[40, 20, 41, 200], [0, 0, 4, 4]], image) == [[10, 5, 10.25, 50], [0, 0, 1, 1]]
    assert scaled_boxes([1, 2, 3, 4], StoredImage(b"", 9, 9, 9, 9)) == [1, 2, 3, 4]
    for outside in ([0, 0, 402, 10], [0, 0, 10, 202], [-2, 0, 10, 10]):
        with pytest.raises(Skip, match="box outside of the image"):
            scaled_boxes(outside, image)


def test_marks_go_in_front_unless_they_are_there():
    assert with_marks("<image>a <image>b", 2) == "<image>a <image>b"
    assert with_marks("<image>a", 2) == "<image><image>a"
    assert with_marks("a", 0) == "a"


def test_solutions_with_and_without_tags():
    assert tagged("<think>x</think><answer> B </answer>") == "B"
    assert tagged(" B ") == "B"
    with pytest.raises(Skip, match="solution is no text"):
        tagged(None)
