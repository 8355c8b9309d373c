"""Frames of coordinates, and the way from one to another.

| frame | coordinates | who writes them |
|---|---|---|
| `original` | pixels of the row's image, as it is stored | RefCOCO, VLM-R1's files |
| `resized` | pixels of that image as the model sees it | Qwen2.5-VL |
| `unit` | 0 to 1 of width and height | the paper's LISA copy |
| `thousand` | 0 to 1000 of width and height | Qwen-VL, Qwen2-VL, Qwen3-VL, ViRFT's COCO |

Frames of pixels need to know the image (see `fact`). Its width and height are `orig_w` and `orig_h`, or `width` and
`height` of the first entry of `image_sizes`. What the model sees is `in_w` by `in_h`, or what Qwen's rule makes of it.
"""

import math
from typing import Any, Literal, NamedTuple, get_args

from recap_verl.objectives.facts import fact

Frame = Literal["original", "resized", "unit", "thousand"]
FRAMES = get_args(Frame)
FACTOR = 28  # patch 14, merged two by two; 32 for patch 16
MIN_PIXELS, MAX_PIXELS = 4 * FACTOR**2, 16_384 * FACTOR**2  # Qwen2.5-VL's limits of 4 to 16,384 tokens
_MAX_RATIO = 200
_MAX_PIXELS = 1_000_000  # a side
_RELATIVE = {"unit": 1.0, "thousand": 1000.0}


class ResizeRule(NamedTuple):
    """Limits of the resizing: sides are multiples of `factor`, the area lies between the limits, all in pixels."""

    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    factor: int = FACTOR


def smart_resize(height: int, width: int, rule: ResizeRule) -> tuple[int, int]:
    """Height and width that Qwen's processors give an image (qwen-vl-utils 0.0.14, `smart_resize`).

    Each side is rounded to a multiple of the factor. If the area is then beyond a limit, both sides are instead scaled
    by the same number so that it meets the limit, and rounded towards the inside of it.

    Raises:
        ValueError: a side below 1, an aspect ratio above 200, or limits that contradict each other.
    """
    if rule.factor < 1 or rule.min_pixels > rule.max_pixels:
        raise ValueError(f"no size satisfies {rule}: min_pixels must not exceed max_pixels, factor be at least 1")
    if min(height, width) < 1 or max(height, width) > _MAX_RATIO * min(height, width):
        raise ValueError(f"an image of {width} x {height} cannot be resized: its aspect ratio may be at most 200")
    sides = [max(rule.factor, round(side / rule.factor) * rule.factor) for side in (height, width)]
    if math.prod(sides) > rule.max_pixels:
        shrink = math.sqrt(height * width / rule.max_pixels)
        floors = (math.floor(side / shrink / rule.factor) * rule.factor for side in (height, width))
        sides = [max(rule.factor, side) for side in floors]
    elif math.prod(sides) < rule.min_pixels:
        grow = math.sqrt(rule.min_pixels / (height * width))
        sides = [math.ceil(side * grow / rule.factor) * rule.factor for side in (height, width)]
    return sides[0], sides[1]


def scale_between(frame: str, target: str, extra_info: dict, rule: ResizeRule) -> tuple[float, float]:
    """Factors (x, y) that turn coordinates of `frame` into coordinates of `target` for this row's image.

    Raises:
        ValueError: an unknown frame, or a row that does not tell its image's size.
    """
    for name in (frame, target):
        if name not in FRAMES:
            raise ValueError(f"unknown frame '{name}'; frames are {', '.join(FRAMES)}")
    if frame == target:
        return 1.0, 1.0
    width, height = _size(frame, extra_info, rule)
    target_width, target_height = _size(target, extra_info, rule)
    return target_width / width, target_height / height


def _size(frame: str, extra_info: dict, rule: ResizeRule) -> tuple[float, float]:
    if frame in _RELATIVE:
        return _RELATIVE[frame], _RELATIVE[frame]
    if frame == "resized" and fact(extra_info, "in_w") is not None:
        return _pixels(extra_info, "in_w"), _pixels(extra_info, "in_h")
    width, height = _image_size(extra_info)
    return (width, height) if frame == "original" else smart_resize(height, width, rule)[::-1]


def _image_size(extra_info: dict) -> tuple[int, int]:
    if fact(extra_info, "orig_w") is not None:
        return _pixels(extra_info, "orig_w"), _pixels(extra_info, "orig_h")
    sizes = fact(extra_info, "image_sizes")
    if not isinstance(sizes, list) or not sizes or not isinstance(sizes[0], dict):
        raise ValueError(
            "rescaling boxes needs the size of the image in extra_info or in its JSON field 'metadata': 'orig_w' and "
            "'orig_h', or 'image_sizes', a list of {width, height}"
        )
    return _pixels(sizes[0], "width"), _pixels(sizes[0], "height")


def _pixels(row: dict, key: str) -> int:
    value: Any = fact(row, key)
    if not isinstance(value, int | float) or not 1 <= value <= _MAX_PIXELS or value != int(value):
        raise ValueError(f"'{key}' must be a number of pixels, not {value!r}")
    return int(value)
