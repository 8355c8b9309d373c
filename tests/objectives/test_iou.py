"""IoU by hand, against COCO's own code, and through frames."""

import json

import numpy as np
import pytest
from pycocotools import mask

from recap_verl.objectives import ObjectiveError, get_objective
from recap_verl.objectives.iou import pairwise_iou

TRUTH = "[10, 10, 30, 30]"


def score(answer, truth=TRUTH, extra_info=None, **options):
    return get_objective("iou", **options)(f"<answer>{answer}</answer>", truth, extra_info or {})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[10, 10, 30, 30]", 1.0),
        ("[20, 10, 40, 30]", 1 / 3),  # 200 of 600
        ("[20, 20, 40, 40]", 1 / 7),  # 100 of 700
        ("[15, 15, 25, 25]", 1 / 4),  # inside
        ("[0, 0, 40, 40]", 1 / 4),  # around
        ("[30, 10, 50, 30]", 0.0),  # touching
        ("[40, 40, 50, 50]", 0.0),
        ("[30, 30, 10, 10]", 0.0),  # corners swapped
        ("[30, 10, 10, 30]", 0.0),
        ("[10, 10, 10, 30]", 0.0),  # no area
        ("(10.5, 10), (30, 30)", 390 / 400),
        ('{"bbox_2d": [10, 10, 30, 30], "label": "cat"}', 1.0),
        ("[0, 0, 1, 1] [10, 10, 30, 30]", 0.0),  # the first counts
        ("nothing", 0.0),
        ("", 0.0),
    ],
)
def test_by_hand(answer, expected):
    assert score(answer) == pytest.approx(expected, abs=1e-12)


def test_ten_thousand_pairs_as_in_pycocotools():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (200, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0.1, 60, (200, 2))])
    first, second = boxes[:100], boxes[100:]
    as_xywh = [np.hstack([box[:, :2], box[:, 2:] - box[:, :2]]) for box in (first, second)]
    theirs = mask.iou(*as_xywh, [0] * 100)
    assert theirs.shape == (100, 100) and 0.2 < (theirs > 0).mean() < 0.9
    np.testing.assert_allclose(pairwise_iou(first, second), theirs, rtol=1e-12, atol=1e-12)


def test_threshold():
    half, just_over = "[10, 10, 30, 20]", "[10, 10, 30, 20.001]"
    assert score(half) == 0.5
    assert [score(half, threshold=0.5), score(just_over, threshold=0.5)] == [0.0, 1.0]
    assert score(half, threshold=0.5, inclusive=True) == 1.0
    assert score("[1, 1, 2, 2]", threshold=0.5) == 0.0
    for threshold in (-0.1, 1.0):
        with pytest.raises(ObjectiveError, match="option 'threshold' must be at least 0 and below 1"):
            score(half, threshold=threshold)


def test_the_best_of_several_truths():
    assert score("[10, 10, 30, 20]", [[0, 0, 5, 5], [10, 10, 30, 30]]) == 0.5
    assert score("[10, 10, 30, 20]", json.dumps([[10, 10, 30, 30], [10, 10, 30, 20]])) == 1.0


def test_where_the_answer_is():
    iou = get_objective("iou")
    assert iou("<answer>[1, 1, 2, 2]</answer><answer>[10, 10, 30, 30]</answer>", TRUTH) == 1.0
    assert iou("[10, 10, 30, 30]", TRUTH) == 0.0
    free = get_objective("iou", tag=False)
    assert free("<think>[0, 0, 1, 1]?</think> It is [10, 10, 30, 30].", TRUTH) == 1.0


ROW = {"orig_w": 1000, "orig_h": 600}  # the model sees 1008 x 588


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("original", "[100, 60, 500, 300]"),
        ("unit", "[0.1, 0.1, 0.5, 0.5]"),
        ("thousand", "[100, 100, 500, 500]"),
        ("resized", "[100.8, 58.8, 504, 294]"),
    ],
)
@pytest.mark.parametrize(
    ("truth_frame", "truth"),
    [("original", [100, 60, 500, 300]), ("unit", [0.1, 0.1, 0.5, 0.5]), ("resized", [100.8, 58.8, 504.0, 294.0])],
)
def test_the_same_box_in_any_two_frames(frame, answer, truth_frame, truth):
    assert score(answer, truth, ROW, frame=frame, truth_frame=truth_frame) == pytest.approx(1.0, abs=1e-12)


def test_the_limit_of_pixels_matters():
    """At 401,408 pixels the model sees 1000 x 600 as 812 x 476."""
    answer = "[81.2, 47.6, 406, 238]"
    truth = "[100, 60, 500, 300]"
    assert score(answer, truth, ROW, frame="resized", max_pixels=401_408) == pytest.approx(1.0)
    assert score(answer, truth, ROW, frame="resized") < 0.7


def test_boxes_of_a_pixel_in_unit_coordinates():
    assert score("[0.1, 0.1, 0.2, 0.2]", "[0.1, 0.1, 0.2, 0.2]") == 1.0
    assert score("[1e-200, 1e-200, 2e-200, 2e-200]", "[0, 0, 1, 1]") == 0.0


def test_mistakes_of_a_row_are_named():
    with pytest.raises(ObjectiveError, match="objective 'iou' raised ValueError: rescaling boxes needs the size"):
        score("[1, 1, 2, 2]", frame="resized")
    with pytest.raises(ObjectiveError, match="x1 < x2 and y1 < y2 are needed"):
        score("[1, 1, 2, 2]", [5, 5, 1, 1])
    with pytest.raises(ObjectiveError, match="unknown frame 'screen'"):
        score("[1, 1, 2, 2]", frame="screen")
