"""Decoding of the ground truth column, in one place for all objectives."""

import json
import math
from typing import Any

import numpy as np


def acceptable_answers(ground_truth: Any) -> list[str]:
    """All texts that count as right.

    Parquet columns hold one type, so data sets of different kinds only concatenate when every ground truth is
    JSON-encoded text. Accepted are therefore

    - a JSON string (`'"12"'` is the text 12) or a JSON list of strings (`'["a", "b"]'` is a or b);
    - any other string, as it stands. That includes JSON numbers (`'12'`) and lists that hold anything but strings:
      `'[0, 1]'` is an interval or a vector, not a choice between 0 and 1;
    - a number (`12`, `0.5`, a numpy scalar);
    - a list, tuple or array of texts and numbers, any of which is right.

    Raises:
        ValueError: no answer at all, or a value of another type.
    """
    if isinstance(ground_truth, np.ndarray | np.generic):
        ground_truth = ground_truth.tolist()
    if isinstance(ground_truth, list | tuple):
        answers = [_text(entry) for entry in ground_truth]
    elif isinstance(ground_truth, str):
        answers = _decoded(ground_truth)
    else:
        answers = [_text(ground_truth)]
    if not answers:
        raise ValueError("ground_truth is an empty list; give at least one acceptable answer")
    return answers


def _decoded(text: str) -> list[str]:
    if text.lstrip()[:1] not in ('"', "["):
        return [text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return value
    return [text]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise ValueError(f"ground_truth must be text, a finite number or a list of these, not {value!r}")
