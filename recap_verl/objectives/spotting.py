"""Text spotting: words found where they are (ICDAR 2015's end-to-end protocol, as OCRBench v2 applies it)."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recap_verl.objectives.iou import pairwise_iou

MAX_WORDS = 1000  # of an answer
_SCALE = 1000
_IOU, _COVERED = 0.5, 0.5
_DO_NOT_CARE = "###"
_OUTER_MARKS = frozenset("!?.:,*\"()·[]/'")
_INTEGER = r"\s*+([0-9]{1,4}+)\s*+"
_ITEM = re.compile(
    rf"[\[(]{_INTEGER},{_INTEGER},{_INTEGER},{_INTEGER},\s*+"
    r"""(?:"([^"\n]*+)"\s*+|'([^'\n]*+)'\s*+|([^\[\]()\n]*+))[\])]"""
)


class Word(NamedTuple):
    """A word and its box in 0-1000."""

    x1: int
    y1: int
    x2: int
    y2: int
    text: str


def spotting_score(answer: str, polygons: Any, words: Any) -> float:
    """F measure: true words and answer's words that match in place (IoU above 0.5) and in text.

    The true words, in order, each take the first free word of the answer in their place, whatever its text. Texts
    match regardless of case, and of one mark at the true one's beginning or end. True words `###` are not scored, nor
    are the answer's words that lie in them by more than half.

    Args:
        answer: a list of `[x1, y1, x2, y2, "text"]`, integers 0-1000; at most 1,000 are read.
        polygons: for each true word x1, y1, x2, y2, ... of its corners; their bounding box counts.
        words: the true words.
    """
    found, true = read_words(answer), _true_words(polygons, words)
    if not found or not true:
        return 0.0
    overlaps = pairwise_iou([word[:4] for word in true], [word[:4] for word in found])
    cared = np.array([word.text != _DO_NOT_CARE for word in true])
    scored = ~(_coverage(found, true) > _COVERED)[:, ~cared].any(axis=1)
    free_true, free_found, right = cared.copy(), scored.copy(), 0
    for row, column in np.argwhere(overlaps > _IOU):
        if free_true[row] and free_found[column]:
            free_true[row] = free_found[column] = False
            right += _same_text(true[row].text.upper(), found[column].text.upper())
    # 2PR / (P + R) with P = right / scored and R = right / cared.
    total = int(cared.sum() + scored.sum())
    return 2 * right / total if total else 0.0


def read_words(text: str) -> list[Word]:
    """The words with boxes that a model wrote, each once; boxes without area or outside 0-1000 are left out."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = [(*match.group(1, 2, 3, 4), _unquoted(match)) for match in _ITEM.finditer(text)]
    words: dict[Word, None] = {}
    for item in items if isinstance(items, list) else []:
        word = _word(item)
        if word and len(words) < MAX_WORDS:
            words[word] = None
    return list(words)


def _word(item: Any) -> Word | None:
    if not isinstance(item, list | tuple) or len(item) < 5 or not isinstance(item[4], str | int | float):
        return None
    corners = [_coordinate(value) for value in item[:4]]
    if None in corners or corners[0] >= corners[2] or corners[1] >= corners[3]:
        return None
    return Word(*corners, str(item[4]).replace("\n", "").strip().strip("\"'"))


def _coordinate(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) <= 4:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _SCALE else None


def _unquoted(match: re.Match) -> str:
    return next((text for text in match.group(5, 6, 7) if text is not None), "")


def _true_words(polygons: Any, words: Any) -> list[Word]:
    if not isinstance(polygons, list) or not isinstance(words, list) or len(polygons) != len(words):
        raise ValueError("text spotting needs one polygon in 'bbox_list' for each word in 'content'")
    return [Word(*_bounds(polygon), str(word)) for polygon, word in zip(polygons, words, strict=True)]


def _bounds(polygon: Any) -> tuple[int, int, int, int]:
    numeric = isinstance(polygon, list) and all(isinstance(value, int | float) for value in polygon)
    if not numeric or len(polygon) < 4 or len(polygon) % 2:
        raise ValueError(f"'bbox_list' has {polygon!r}, which is no list of corners x1, y1, x2, y2, ...")
    xs, ys = polygon[0::2], polygon[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _coverage(found: Sequence[Word], true: Sequence[Word]) -> np.ndarray:
    """Share of each found word's area that lies in each true word's, (found, true)."""
    a = np.array([word[:4] for word in found], float)[:, None]
    b = np.array([word[:4] for word in true], float)[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    return sides.prod(axis=-1) / (a[..., 2:] - a[..., :2]).prod(axis=-1)


def _same_text(true: str, found: str) -> bool:
    first = true[:1] in _OUTER_MARKS
    last = true[-1:] in _OUTER_MARKS
    return (
        true == found
        or (first and true[1:] == found)
        or (last and true[:-1] == found)
        or (first and last and true[1:-1] == found)
    )
