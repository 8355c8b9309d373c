"""Reading the key-value answers of information extraction: JSON, a Python dictionary, or lines of `key: value`."""

import json
import re
from typing import Any

from recap_verl.objectives.facts import plain

_FENCE = re.compile(r"```(?:python|json)?\n", re.IGNORECASE)
# Every repetition stops at its own delimiter and gives nothing back, so the scan is linear.
_PAIR = re.compile(
    r"""(?:"([^"\n]*+)"|'([^'\n]*+)'|(?<![\w ])([\w ]++))\s*+[:=]\s*+"""
    r"""(?:"([^"\n]*+)"|'([^'\n]*+)'|(\[[^\[\]\n]*+\])|([^\n,"'{}]++))"""
)


def read_fields(text: str) -> dict[str, str]:
    """The fields that a model's text names, all values as text; empty if it names none. A repeated key's last counts.

    Text in a code fence is read instead of what surrounds it. What is not JSON is searched for pairs `key: value` or
    `key = value`, quoted or not, one after the other.
    """
    text = _unfenced(text)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = dict(map(_pair, _PAIR.finditer(text)))
    if not isinstance(fields, dict):
        return {}
    return {key.strip(): _text(value) for key, value in fields.items()}


def true_fields(ground_truth: Any) -> dict[str, list[str]]:
    """The fields of a ground truth, for each its acceptable values.

    Args:
        ground_truth: an object whose values are texts or lists of texts, as a dictionary, as JSON, as JSON in a JSON
            string, or as the one entry of a list.

    Raises:
        ValueError: anything else.
    """
    return {
        key.strip(): [_text(entry) for entry in _as_list(entries)] for key, entries in true_object(ground_truth).items()
    }


def true_object(ground_truth: Any) -> dict[str, Any]:
    """The same with values as they stand."""
    value = plain(ground_truth)
    for _ in range(4):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                break
    if not isinstance(value, dict) or not value:
        raise ValueError(f"ground_truth must be a JSON object of fields, not {ground_truth!r}")
    return value


def _unfenced(text: str) -> str:
    opening = _FENCE.search(text)
    if opening:
        content, closed, _ = text[opening.end() :].partition("\n```")
        if closed:
            return content
    return text.strip()


def _pair(match: re.Match) -> tuple[str, str]:
    return next(filter(None, match.group(1, 2, 3)), ""), next(filter(None, match.group(4, 5, 6, 7)), "")


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    try:
        return str(value).strip()
    except (ValueError, RecursionError):  # an integer of thousands of digits, a structure nested as deeply
        return ""
