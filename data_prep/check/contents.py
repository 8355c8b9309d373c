"""Checks of one row by itself."""

import functools
import io
import json
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from data_prep.dataset import of_data_source
from data_prep.images import MAX_ASPECT
from data_prep.rows import MARK
from recap_verl.objectives import ObjectiveError, get_objective

_OTHER_MARKS = ("<video>", "<audio>")


def prompt_flaw(row: dict) -> str | None:
    turns = row["prompt"]
    if not turns or any(not turn or not turn["role"] or turn["content"] is None for turn in turns):
        return "an empty prompt, turn, role or content"
    if turns[-1]["role"] != "user":
        return f"the last turn is the {turns[-1]['role']}'s"
    return None


def mark_flaw(row: dict) -> str | None:
    """What makes verl drop the row (verl/utils/dataset/rl_dataset.py, `_build_messages`)."""
    text = "".join(turn["content"] for turn in row["prompt"])
    marks, images = text.count(MARK), len(row["images"] or ())
    if marks != images:
        return f"{marks} marks, {images} images"
    others = [mark for mark in _OTHER_MARKS if mark in text]
    return f"a {others[0]} mark beside images" if images and others else None


def open_images(row: dict) -> Iterator[Image.Image | str]:
    """Each image decoded, or what is wrong with it."""
    for number, image in enumerate(row["images"] or ()):
        if not image or not image["bytes"]:
            yield f"image {number} has no bytes"
            continue
        try:
            opened = Image.open(io.BytesIO(image["bytes"]), formats=("PNG", "JPEG"))
            opened.load()
        except UnidentifiedImageError:
            yield f"image {number} is no PNG and no JPEG"
            continue
        except Exception as error:  # Pillow raises about any type on broken files
            yield f"image {number} cannot be decoded: {type(error).__name__}: {error}"
            continue
        wide = max(opened.size) > MAX_ASPECT * min(opened.size)
        yield f"image {number} has an aspect ratio over {MAX_ASPECT}" if wide else opened


def truth_flaw(row: dict) -> str | None:
    """Missing, not JSON, or refused by an objective of the row's data set when it scores an empty response."""
    model = row["reward_model"] or {}
    truth = model.get("ground_truth")
    if not truth:
        return "no ground truth"
    try:
        value = json.loads(truth)
    except (ValueError, RecursionError):
        return f"{truth[:80]!r} is no JSON"
    if value is None or value in ("", []):
        return "an empty ground truth"
    for objective in _objectives(row["data_source"]):
        try:
            objective("", truth, row["extra_info"] or {})
        except ObjectiveError as error:
            return str(error)
    return None


@functools.cache
def _objectives(data_source: str) -> tuple:
    dataset = of_data_source(data_source)
    return tuple(get_objective(name, **options) for name, options in dataset.objectives.items()) if dataset else ()


def may_not_train(row: dict) -> str | None:
    dataset = of_data_source(row["data_source"])
    return f"{dataset.name}: {dataset.licence}" if dataset and not dataset.trainable else None
