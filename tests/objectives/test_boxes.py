"""What is a box in a model's text and what is not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_verl.objectives.boxes import MAX_BOXES, Box, parse_boxes, true_boxes

ONE_BOX = {
    "brackets": "[1, 2, 30, 40]",
    "no spaces": "[1,2,30,40]",
    "parentheses": "(1, 2, 30, 40)",
    "floats": "[1.0, 2., 30.0, 4e1]",
    "signs": "[+1, 2, 30, 40]",
    "over lines": "[\n  1,\n  2,\n  30,\n  40\n]",
    "prose": "The box is [1, 2, 30, 40], I think.",
    "nested": "[[1, 2, 30, 40]]",
    "points": "(1,2),(30,40)",
    "points in a list": "[[1, 2], [30, 40]]",
    "Qwen2-VL": "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(30,40)<|box_end|>",
    "bbox_2d": '```json\n[\n{"bbox_2d": [1, 2, 30, 40], "label": "cat"}\n]\n```',
    "bbox": '{"bbox": [1, 2, 30, 40]}',
    "single quotes": "{'Position': [1, 2, 30, 40], 'Confidence': 1}",
    "after a list of another length": "[1, 2, 3] [1, 2, 30, 40]",
    "after an open bracket": "[1, 2, [1, 2, 30, 40]",
}
NO_BOX = {
    "empty": "",
    "words": "no box here",
    "bare numbers": "1, 2, 30, 40",
    "three": "[1, 2, 3]",
    "five": "[1, 2, 3, 4, 5]",
    "a polygon": "(1,2),(3,4),(5,6)",
    "a point": "(1, 2)",
    "points apart": "(1, 2) and (3, 4)",
    "nan": "[nan, 2, 3, 4]",
    "inf": "[1, 2, Infinity, 4]",
    "overflow": "[1, 2, 3, 1e999]",
    "beyond any image": "[1, 2, 3, 10000001]",
    "too many digits": "[1, 2, 3, 1234567890123]",
    "hexadecimal": "[0x1, 2, 3, 4]",
    "other digits": "[١, ٢, ٣, ٤]",
    "an expression": "[1, 2, 3, 2*2]",
    "never closed": "[1, 2, 3, 4",
    "mixed up": "[1, 2, 3, 4, [",
}


@pytest.mark.parametrize("name", ONE_BOX)
def test_one_box(name):
    assert [box.corners for box in parse_boxes(ONE_BOX[name])] == [(1, 2, 30, 40)]


@pytest.mark.parametrize("name", NO_BOX)
def test_no_box(name):
    assert parse_boxes(NO_BOX[name]) == []


def test_labels_and_confidences_belong_to_their_own_box():
    text = """[{"label": "a dog's", "bbox_2d": [1, 2, 3, 4], "score": 0.25},
               {'Position': [5, 6, 7, 8], 'Confidence': 1e9}, {"bbox": [1, 1, 2, 2]}] [3, 3, 4, 4]"""
    assert parse_boxes(text) == [
        Box(1, 2, 3, 4, "a dog's", 0.25),
        Box(5, 6, 7, 8, None, 1.0),
        Box(1, 1, 2, 2),
        Box(3, 3, 4, 4),
    ]


def test_another_objects_label_is_not_taken():
    assert parse_boxes('{"label": "cat"} {"bbox": [1, 2, 3, 4]} {"label": "dog"}') == [Box(1, 2, 3, 4)]
    assert parse_boxes('{"bbox": [1, .5, 3., 4], "label": ""}') == [Box(1, 0.5, 3, 4, "")]


def test_corners_stay_as_written():
    assert parse_boxes("[30, 40, 1, 2]")[0].corners == (30, 40, 1, 2)


def test_at_most_a_hundred_in_their_order():
    text = " ".join(f"[{i}, 0, 1, 1]" for i in range(300))
    assert [box.x1 for box in parse_boxes(text)] == list(range(MAX_BOXES))
    assert len(parse_boxes(text, limit=3)) == 3


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_any_four_floats_are_read_back(corners):
    assert parse_boxes(json.dumps(corners)) == [Box(*corners)]
    assert parse_boxes(str(tuple(corners))) == [Box(*corners)]


@pytest.mark.parametrize(
    "truth",
    [
        "[1, 2, 30, 40]",
        [1, 2, 30, 40],
        (1.0, 2.0, 30.0, 40.0),
        np.array([1, 2, 30, 40]),
        [[1, 2, 30, 40]],
        np.array([np.array([1, 2, 30, 40]), None], dtype=object)[:1],
        '"<answer>[1, 2, 30, 40]</answer>"',
        "<answer>[{'Position': [1, 2, 30, 40], 'Confidence': 1}]</answer>",
        {"bbox_2d": [1, 2, 30, 40]},
        json.dumps({"bbox": [1, 2, 30, 40]}),
        ["[1, 2, 30, 40]"],
    ],
    ids=repr,
)
def test_truths(truth):
    assert [box.corners for box in true_boxes(truth)] == [(1, 2, 30, 40)]


@pytest.mark.parametrize(
    "truth", [None, "", "cat", [1, 2, 3], {1, 2}, "[]", [3, 4, 1, 2], "[1, 2, 3, 2]", [1, 2, 1, 3], '"', object()]
)
def test_truths_that_are_none(truth):
    with pytest.raises(ValueError, match=r"^ground_truth .*"):
        true_boxes(truth)


@pytest.mark.parametrize(
    "truth", ["[]", [], "No Objects", "<answer>No Objects</answer>", '"no objects."', np.array([])]
)
def test_nothing_to_detect(truth):
    assert true_boxes(truth, may_be_none=True) == []


@pytest.mark.parametrize("truth", ["", "[1, 2, 3]", "cat", "[nan, 1, 2, 3]"])
def test_nonsense_is_not_nothing(truth):
    with pytest.raises(ValueError, match="holds no box"):
        true_boxes(truth, may_be_none=True)
