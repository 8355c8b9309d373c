"""What a row says about its question besides the truth: the image's size, the choices, the type of answer."""

import json
from typing import Any

import numpy as np


def fact(extra_info: dict, key: str) -> Any:
    """The value of `key`, None if the row does not have it.

    It is a field of `extra_info`, or of the JSON text in `extra_info["metadata"]`: files that differ in the fields of
    `extra_info` concatenate only with nulls, so the package's own converters keep everything special there. A field
    that is null counts as absent.
    """
    value = extra_info.get(key)
    return plain(_metadata(extra_info).get(key) if value is None else value)


def needed_fact(extra_info: dict, key: str, purpose: str) -> Any:
    """The value of `key`; raises a ValueError that says what it is needed for if the row does not have it."""
    value = fact(extra_info, key)
    if value is None:
        raise ValueError(f"{purpose} needs '{key}' in extra_info or in its JSON field 'metadata'")
    return value


def choice_texts(extra_info: dict) -> list[str]:
    """The texts of the options, in the order of their letters; empty for a question without options."""
    choices = fact(extra_info, "choices")
    if choices is None:
        return []
    if not isinstance(choices, list):
        raise ValueError(f"'choices' must be a list of texts, not {choices!r}")
    return [str(choice) for choice in choices]


def plain(value: Any) -> Any:
    """Numpy arrays, also nested ones as parquet readers return them, as lists; everything else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _metadata(extra_info: dict) -> dict:
    metadata = extra_info.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            return {}
    return metadata if isinstance(metadata, dict) else {}
