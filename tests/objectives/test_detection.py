"""Visual-RFT's detection rewards, by hand, against the definition written out and against COCO's own matching."""

import json
import random

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from recap_verl.objectives import ObjectiveError, get_objective

TWO = "[[0, 0, 10, 10], [20, 0, 30, 10]]"


def score(boxes, truth=TWO, **options):
    answer = boxes if isinstance(boxes, str) else str([{"Position": box, "Confidence": c} for box, c in boxes])
    return get_objective("detection", **options)(f"<answer>{answer}</answer>", truth)


LEFT, RIGHT, NEAR_LEFT, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 8], [50, 50, 60, 60]


@pytest.mark.parametrize(
    ("boxes", "iou", "f1", "confidence"),
    [
        ([(LEFT, 1), (RIGHT, 1)], 1.0, 1.0, 1.0),
        ([(RIGHT, 0.5), (LEFT, 0.5)], 1.0, 1.0, 0.5),
        ([(LEFT, 1)], 0.5, 2 / 3, 1.0),  # one missed
        ([(NEAR_LEFT, 0.9)], 0.4, 2 / 3, 0.9),  # IoU 0.8
        ([(LEFT, 1), (RIGHT, 1), (FAR, 0.2)], 2 / 3, 0.8, 2.8 / 3),  # one too many, and unsure of it
        ([(LEFT, 0.3), (NEAR_LEFT, 0.9)], 0.4, 0.5, (0.9 + 0.7) / 2),  # the confident one takes the true box
        ([(LEFT, 0.9), (NEAR_LEFT, 0.3)], 0.5, 0.5, (0.9 + 0.7) / 2),
        ([(LEFT, 1), (LEFT, 1), (RIGHT, 1)], 1.0, 1.0, 1.0),  # written twice
        ([([0, 0, 10, 5], 1), (FAR, 1)], 0.0, 0.0, 0.0),  # IoU 0.5 is not above 0.5
        ([([10, 10, 0, 0], 1)], 0.0, 0.0, 0.0),  # corners swapped
        ("No Objects", 0.0, 0.0, 0.0),
        ("[0, 0, 10, 10] [20, 0, 30, 10]", 1.0, 1.0, 1.0),  # no confidences
    ],
)
def test_by_hand(boxes, iou, f1, confidence):
    assert score(boxes) == pytest.approx(iou)
    assert score(boxes, form="f1") == pytest.approx(f1)
    assert score(boxes, form="confidence") == pytest.approx(confidence)


@pytest.mark.parametrize("form", ["iou", "f1", "confidence"])
def test_nothing_to_detect(form):
    assert score("No Objects", "[]", form=form) == 1.0
    assert score("", "<answer>No Objects</answer>", form=form) == 1.0
    assert score([(LEFT, 1)], "[]", form=form) == 0.0
    assert get_objective("detection", form=form)("no answer block", "[]") == 0.0


def test_labels():
    truth = [{"bbox_2d": LEFT, "label": "cat"}, {"bbox_2d": RIGHT, "label": "Dog"}]
    answer = json.dumps([{"bbox_2d": LEFT, "label": "dog"}, {"bbox_2d": RIGHT, "label": " dog"}])
    assert score(answer, truth) == 1.0
    assert score(answer, truth, match_labels=True) == 0.5
    assert score(answer.replace("dog", "cat"), truth, match_labels=True) == 0.5
    assert score(answer.replace("dog", "owl"), truth, match_labels=True) == 0.0
    assert score(json.dumps(truth), truth, match_labels=True) == 1.0


def test_spam_does_not_pay():
    grid = [([x, y, x + 10, y + 10], 1) for x in range(0, 100, 5) for y in range(0, 100, 5)]
    assert score(grid) <= 2 / 100


def test_frames():
    row = {"orig_w": 200, "orig_h": 100}
    answer = "<answer>[{'Position': [0, 0, 50, 100], 'Confidence': 1}]</answer>"
    assert get_objective("detection", frame="thousand")(answer, "[0, 0, 10, 10]", row) == 1.0


def test_unknown_form():
    with pytest.raises(ObjectiveError, match="option 'form' must be one of iou, f1, confidence, not 'map'"):
        score("", form="map")


def test_ten_thousand_random_scenes_by_the_definition():
    rng = random.Random(0)
    for _ in range(10_000):
        boxes, truths = _scene(rng)
        iou, f1, confidence = _by_definition(boxes, truths)
        assert score(boxes, truths) == pytest.approx(iou)
        assert score(boxes, truths, form="f1") == pytest.approx(f1)
        assert score(boxes, truths, form="confidence") == pytest.approx(confidence)


def test_ten_thousand_random_scenes_are_matched_as_in_pycocotools():
    rng = random.Random(1)
    scenes = [_scene(rng) for _ in range(10_000)]
    ids = range(1, len(scenes) + 1)
    truths = COCO()
    truths.dataset = {
        "images": [{"id": number} for number in ids],
        "categories": [{"id": 1}],
        "annotations": [
            {"image_id": number, "category_id": 1, "bbox": _xywh(box), "area": 1, "iscrowd": 0}
            for number, (_, true) in zip(ids, scenes, strict=True)
            for box in true
        ],
    }
    for number, annotation in enumerate(truths.dataset["annotations"], start=1):
        annotation["id"] = number
    truths.createIndex()
    found = truths.loadRes(
        [
            {"image_id": number, "category_id": 1, "bbox": _xywh(box), "score": confidence}
            for number, (boxes, _) in zip(ids, scenes, strict=True)
            for box, confidence in boxes
        ]
    )
    evaluation = COCOeval(truths, found, "bbox")
    # COCO matches at the threshold itself, we above it.
    evaluation.params.iouThrs, evaluation.params.areaRng = [0.5 + 1e-9], [[0, 1e10]]
    evaluation.evaluate()
    matches = [int((image["dtMatches"] > 0).sum()) for image in evaluation.evalImgs]
    assert {0, 1, 2, 3} <= set(matches)
    for matched, (boxes, true) in zip(matches, scenes, strict=True):
        assert score(boxes, true, form="f1") == pytest.approx(2 * matched / (len(boxes) + len(true)))


def _xywh(box):
    return [*box[:2], box[2] - box[0], box[3] - box[1]]


def _scene(rng):
    """Boxes with confidences, most of them near a true one, and the true boxes."""
    truths = [_box(rng) for _ in range(rng.randint(1, 4))]
    boxes = {}
    for _ in range(rng.randint(1, 5)):
        near = [value + rng.randint(-3, 3) for value in rng.choice(truths)]
        boxes[tuple(near if rng.random() < 0.7 else _box(rng))] = round(rng.random(), 3)
    return [(list(box), confidence) for box, confidence in boxes.items()], truths


def _box(rng):
    x, y = rng.randint(3, 60), rng.randint(3, 60)
    return [x, y, x + rng.randint(8, 40), y + rng.randint(8, 40)]


def _by_definition(boxes, truths):
    free, total, matches, confidences = list(range(len(truths))), 0.0, 0, []
    for box, confidence in sorted(boxes, key=lambda pair: -pair[1]):
        best = max(free, key=lambda index: _iou(box, truths[index]), default=None)
        if best is not None and _iou(box, truths[best]) > 0.5:
            free.remove(best)
            total, matches = total + _iou(box, truths[best]), matches + 1
            confidences.append(confidence)
        else:
            confidences.append(1 - confidence)
    count = len(boxes) + len(truths)
    return total / max(len(boxes), len(truths)), 2 * matches / count, sum(confidences) / len(confidences)


def _iou(a, b):
    width, height = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)
