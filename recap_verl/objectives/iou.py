"""IoU of one box, for grounding and referring expressions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.boxes import parse_boxes, true_boxes
from recap_verl.objectives.frames import FACTOR, MAX_PIXELS, MIN_PIXELS, Frame, ResizeRule, scale_between
from recap_verl.objectives.registry import register_objective

Corners = Sequence[tuple[float, float, float, float]]


def pairwise_iou(first: Corners, second: Corners, scale: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Area of intersection over area of union of every box of `first` with every box of `second`, (n, m) in [0, 1].

    Args:
        first, second: boxes (x1, y1, x2, y2); one with x1 >= x2 or y1 >= y2 has no area and overlaps with nothing.
        scale: what x and y of `first` are multiplied with first.
    """
    a = np.asarray(first, float).reshape(-1, 1, 4) * (*scale, *scale)
    b = np.asarray(second, float).reshape(1, -1, 4)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    intersection = sides.prod(axis=-1)
    union = _area(a) + _area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0).clip(0, 1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)


@register_objective("iou")
def iou(
    response: str,
    ground_truth: Any,
    extra_info: dict,
    *,
    threshold: float = 0.0,
    inclusive: bool = False,
    tag: bool = True,
    frame: Frame = "original",
    truth_frame: Frame = "original",
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    factor: int = FACTOR,
) -> float:
    """IoU of the answer's box with the true one (the best of several), or whether it exceeds a threshold.

    Without a threshold it is the reward of the paper's hybrid setting and, as a mean, its LISA score; with 0.5 the
    reward of its RLVR-only setting (arXiv 2510.21978) and accuracy at IoU 0.5, in which VLM-R1 counts `IoU > 0.5` and
    lmms-eval `IoU >= 0.5`. It is the plain quotient of areas: VLM-R1's formula adds and subtracts one pixel, which
    makes it 0 for overlaps of up to one pixel and so for all boxes in 0-1 coordinates.

    The first box of the answer counts, as in VLM-R1 and lmms-eval, so that writing several gains nothing. An answer
    without a box scores 0; what a box is says `recap_verl.objectives.boxes`.

    Args:
        ground_truth: see `true_boxes`; x1 < x2 and y1 < y2.
        extra_info: the image's size if the frames differ; see `recap_verl.objectives.frames`.
        threshold: 0 gives the IoU itself, another number below 1 gives 1 where the IoU is above it and else 0.
        inclusive: an IoU equal to the threshold is enough.
        tag: the answer is the content of the last `<answer>` block; false takes the response behind `</think>`.
        frame: the frame that the model answers in.
        truth_frame: the frame of the ground truth.
        min_pixels, max_pixels, factor: how the model's images were resized; see `smart_resize`.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"option 'threshold' must be at least 0 and below 1, not {threshold}")
    truths = true_boxes(ground_truth)
    scale = scale_between(frame, truth_frame, extra_info, ResizeRule(min_pixels, max_pixels, factor))
    boxes = parse_boxes(given_answer(response, tag) or "", limit=1)
    if not boxes:
        return 0.0
    best = pairwise_iou([boxes[0].corners], [box.corners for box in truths], scale).max()
    if threshold == 0:
        return float(best)
    return float(best >= threshold if inclusive else best > threshold)
