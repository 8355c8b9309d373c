"""Boxes of a source as [x1, y1, x2, y2], in whatever frame the source has them."""

import math

from data_prep.errors import Skip
from data_prep.images import StoredImage

Box = list[float]


def xyxy(value: object) -> Box:
    """Four numbers that are two corners; `Skip` for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise Skip("no box", value)
    numbers = [float(number) for number in value]
    if not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise Skip("box without area", value)
    # Shares of a side need more digits than pixels do.
    return numbers if max(numbers) <= 1 else [_short(number) for number in numbers]


def from_xywh(value: object) -> Box:
    """Corners of a box given by one corner, width and height."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise Skip("no box", value)
    x, y, width, height = (float(number) for number in value)
    return xyxy([x, y, x + width, y + height])


def from_unit(box: Box, image: StoredImage) -> Box:
    """A box in shares of width and height, in pixels of the source's image."""
    return [
        _short(share * side) for share, side in zip(box, (image.original_width, image.original_height) * 2, strict=True)
    ]


def scaled_boxes(boxes: list, image: StoredImage) -> list:
    """One box or a list of them, in pixels of the source's image, in pixels of the stored one.

    A box that leaves the image by more than rounding is in another frame than was thought.
    """
    if boxes and isinstance(boxes[0], list):
        return [scaled_boxes(box, image) for box in boxes]
    x1, y1, x2, y2 = boxes
    if min(x1, y1) < -1 or x2 > image.original_width + 1 or y2 > image.original_height + 1:
        raise Skip("box outside of the image", f"{boxes} in {image.original_width}x{image.original_height}")
    if (image.width, image.height) == (image.original_width, image.original_height):
        return boxes
    x, y = image.width / image.original_width, image.height / image.original_height
    return [_short(number * factor) for number, factor in zip(boxes, (x, y, x, y), strict=True)]


def _short(number: float) -> float:
    """Hundredths of a pixel are noise of arithmetic, and whole numbers read better without a point."""
    rounded = round(number, 2)
    return int(rounded) if rounded == int(rounded) else rounded
