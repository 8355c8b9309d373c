"""Detection of all objects of a class: how well the answer's boxes match the true ones, one to one."""

from typing import Any, Literal

import numpy as np

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.boxes import Box, parse_boxes, true_boxes
from recap_verl.objectives.frames import FACTOR, MAX_PIXELS, MIN_PIXELS, Frame, ResizeRule, scale_between
from recap_verl.objectives.iou import pairwise_iou
from recap_verl.objectives.registry import register_objective

FORMS = ("iou", "f1", "confidence")


@register_objective("detection")
def detection(
    response: str,
    ground_truth: Any,
    extra_info: dict,
    *,
    form: Literal["iou", "f1", "confidence"] = "iou",
    threshold: float = 0.5,
    match_labels: bool = False,
    tag: bool = True,
    frame: Frame = "original",
    truth_frame: Frame = "original",
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    factor: int = FACTOR,
) -> float:
    """Visual-RFT's detection rewards (arXiv 2503.01785 and its code, `grpo.py`).

    The answer's boxes, most confident first and in their written order where equal, each take the free true box they
    overlap with most, if the IoU is above the threshold. A box that is written twice counts once; more than 100 are
    not read. Where there is nothing to detect, an answer without boxes scores 1 and any box 0.

    - `iou`: the sum of the matched IoUs over max(number of answer's boxes, number of true boxes).
    - `f1`: twice the matches over the sum of the two numbers.
    - `confidence`: mean over the answer's boxes of the confidence where matched, and of 1 - confidence where not. A
      box without a confidence has 1.

    Args:
        ground_truth: see `true_boxes`; `[]` or `No Objects` if there are none.
        form: which of the three.
        match_labels: boxes match only if their labels are equal, case and outer whitespace aside.
        extra_info, tag, frame, truth_frame, min_pixels, max_pixels, factor: as for `iou`.
    """
    if form not in FORMS:
        raise ValueError(f"option 'form' must be one of {', '.join(FORMS)}, not {form!r}")
    truths = true_boxes(ground_truth, may_be_none=True)
    scale = scale_between(frame, truth_frame, extra_info, ResizeRule(min_pixels, max_pixels, factor))
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    boxes = _distinct(parse_boxes(answer))
    if not boxes or not truths:
        return float(not boxes and not truths)
    overlaps = pairwise_iou([box.corners for box in boxes], [box.corners for box in truths], scale)
    if match_labels:
        overlaps *= [[_label(box) == _label(truth) for truth in truths] for box in boxes]
    matched = _matched_overlaps(boxes, overlaps, threshold)
    if form == "f1":
        return 2 * np.count_nonzero(matched) / (len(boxes) + len(truths))
    if form == "iou":
        return float(matched.sum()) / max(len(boxes), len(truths))
    confidence = np.array([box.confidence for box in boxes])
    return float(np.where(matched > 0, confidence, 1 - confidence).mean())


def _distinct(boxes: list[Box]) -> list[Box]:
    """Without repetitions; the first of equal ones stays."""
    distinct: dict[tuple, Box] = {}
    for box in boxes:
        distinct.setdefault((box.corners, box.label), box)
    return list(distinct.values())


def _label(box: Box) -> str:
    return (box.label or "").strip().casefold()


def _matched_overlaps(boxes: list[Box], overlaps: np.ndarray, threshold: float) -> np.ndarray:
    """For each box the IoU with the true box it was given, 0 if it got none."""
    free, matched = overlaps.copy(), np.zeros(len(boxes))
    for index in sorted(range(len(boxes)), key=lambda index: -boxes[index].confidence):
        truth = free[index].argmax()
        if free[index, truth] > max(threshold, 0):
            matched[index] = free[index, truth]
            free[:, truth] = 0
    return matched
