"""One row of a verl data set, and the split a question belongs to."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

SPLITS = ("train", "val", "test")
MARK = "<image>"


def make_row(
    *,
    data_source: str,
    prompt: list[dict[str, str]],
    ability: str,
    answer: Any,
    question: str,
    split: str,
    index: int,
    images: Sequence[bytes] = (),
    image_sizes: Sequence[dict[str, int]] = (),
    metadata: Any = None,
) -> dict:
    """A row of verl 0.9.1's contract (verl/utils/dataset/rl_dataset.py).

    Args:
        prompt: chat turns, each `{"role": ..., "content": ...}`, the last one the user's, with one `<image>` for each
            image.
        answer: what counts as right; kept as JSON, so that files with other kinds of truths can be concatenated.
        index: number of the row within its file.
        images: encoded files. Text rows have an empty list: verl takes that and null alike for "no images", but a
            null among the bytes crashes it.
        image_sizes: for each image `{width, height, original_width, original_height}` in pixels, as stored here and
            as it was in the source.
        metadata: anything more that an objective needs, JSON-encoded into `extra_info["metadata"]`; a struct would
            have other fields in every data set.
    """
    return {
        "data_source": data_source,
        "prompt": prompt,
        "images": [{"bytes": image, "path": None} for image in images],
        "ability": ability,
        "reward_model": {"style": "rule", "ground_truth": json.dumps(answer, allow_nan=False)},
        "extra_info": {
            "split": split,
            "index": index,
            "question": question,
            "answer": answer if isinstance(answer, str) else json.dumps(answer),
            "image_sizes": list(image_sizes),
            "metadata": None if metadata is None else json.dumps(metadata),
        },
    }


def split_of(question: str) -> str:
    """The split of a question, from its text alone: 3/5 train, 1/5 val, 1/5 test.

    Whatever the seed or the number of rows, no question is ever in two splits.
    """
    fifth = hashlib.sha256(question.encode()).digest()[0] % 5
    return ("val", "test", "train", "train", "train")[fifth]
