"""Reading boxes from text that a model wrote.

Understood are four numbers in one bracket, `[x1, y1, x2, y2]` or `(x1, y1, x2, y2)`, and two points joined by a
comma, `(x1, y1), (x2, y2)` or `[[x1, y1], [x2, y2]]`, wherever they stand: alone, in prose, in a JSON object
(`{"bbox_2d": [...], "label": "cat"}`), in pseudo-JSON with single quotes, in a list of either, or between Qwen's
`<|box_start|>` and `<|box_end|>`. More than two joined points are a polygon, and lists of another length are something
else: neither is a box. Nor is anything with `nan`, `inf` or a coordinate beyond ten million.

Corners stay as they were written. A box whose corners are swapped has no area and overlaps with nothing, as in the
scorers of VLM-R1 and lmms-eval: swapping them back would pay for an answer in another form than was asked for.

One scan, linear in the length of the text: the patterns never give back what they took (possessive quantifiers).
"""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from recap_verl.objectives.facts import plain

MAX_BOXES = 100  # of a response; COCO's detection protocol reads no more either
_MAX_TRUE_BOXES = 10_000
_MAX_COORDINATE = 1e7

NUMBER = r"[+-]?+(?:[0-9]{1,12}+(?:\.[0-9]{0,25}+)?+|\.[0-9]{1,25}+)(?:[eE][+-]?+[0-9]{1,3}+)?+"
_POINT = rf"[\[(]\s*+{NUMBER}\s*+,\s*+{NUMBER}\s*+[\])]"
_BOX = re.compile(rf"[\[(]\s*+{NUMBER}(?:\s*+,\s*+{NUMBER}){{3}}\s*+[\])]|{_POINT}(?:\s*+,\s*+{_POINT})*+")
_NUMBER = re.compile(NUMBER)
_LABEL = re.compile(r"""["'](?:label|name|category|class)["']\s*+:\s*+(?:"([^"]*+)"|'([^']*+)')""", re.IGNORECASE)
_CONFIDENCE = re.compile(rf"""["'](?:confidence|score)["']\s*+:\s*+({NUMBER})""", re.IGNORECASE)
_NOTHING = re.compile(r"\s*+(?:<answer>)?+\s*+(?:\[\s*+\]|no objects?\.?)\s*+(?:</answer>)?+\s*+", re.IGNORECASE)


class Box(NamedTuple):
    """A box as written: two corners, and what the JSON object around it says of it."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str | None = None
    confidence: float = 1.0

    @property
    def corners(self) -> tuple[float, float, float, float]:
        return self[:4]


def parse_boxes(text: str, limit: int = MAX_BOXES) -> list[Box]:
    """The first `limit` boxes in the text, in the order they are written."""
    return list(islice(_boxes(text), limit))


def true_boxes(ground_truth: Any, *, may_be_none: bool = False) -> list[Box]:
    """The boxes of a ground truth: one box or several, as text in any form that a response may have, or as lists.

    Args:
        may_be_none: `[]` and `No Objects` are truths too, without boxes.

    Raises:
        ValueError: no box, or one whose corners are not top left and bottom right.
    """
    text = _as_text(ground_truth)
    boxes = parse_boxes(text, _MAX_TRUE_BOXES)
    if not boxes and not (may_be_none and _NOTHING.fullmatch(text)):
        raise ValueError(f"ground_truth holds no box [x1, y1, x2, y2]: {_shown(text)}")
    for box in boxes:
        if not (box.x1 < box.x2 and box.y1 < box.y2):
            raise ValueError(f"ground_truth has the box {list(box.corners)}, but x1 < x2 and y1 < y2 are needed")
    return boxes


def _as_text(ground_truth: Any) -> str:
    text = ground_truth
    if not isinstance(ground_truth, str):
        try:
            text = json.dumps(plain(ground_truth))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"ground_truth must be boxes as text or lists, not {_shown(repr(ground_truth))}") from None
    elif ground_truth.lstrip().startswith('"'):
        try:
            text = str(json.loads(ground_truth))
        except ValueError:
            return ground_truth
    return text


def _boxes(text: str) -> Iterator[Box]:
    previous_end, matches = 0, _BOX.finditer(text)
    match = next(matches, None)
    while match is not None:
        following = next(matches, None)
        numbers = [float(number) for number in _NUMBER.findall(match[0])]
        if len(numbers) == 4 and all(math.isfinite(number) and abs(number) <= _MAX_COORDINATE for number in numbers):
            before = text[previous_end : match.start()]
            after = text[match.end() : following.start() if following else len(text)]
            yield Box(*numbers, *_properties(before, after))
        previous_end, match = match.end(), following


def _properties(before: str, after: str) -> tuple[str | None, float]:
    """Label and confidence from the object that a box stands in; the texts reach to the neighbouring boxes."""
    opening = before.rfind("{")
    if opening < 0:
        return None, 1.0
    inside = before[opening:] + after.partition("}")[0]
    label, confidence = _LABEL.search(inside), _CONFIDENCE.search(inside)
    return label and (label[1] or label[2] or ""), min(max(float(confidence[1]), 0.0), 1.0) if confidence else 1.0


def _shown(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"
