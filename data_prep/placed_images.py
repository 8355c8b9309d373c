"""Images whose places in a question are numbered, as MMMU writes them: `<image 2>`."""

import re

from data_prep.copies import without_marks
from data_prep.dataset import SourceRow
from data_prep.errors import Skip
from data_prep.rows import MARK

_PLACE = re.compile(r"<image ?(\d)>")


def place_images(text: str, row: SourceRow) -> tuple[str, list]:
    """The text with a mark at the first mention of each image, and the images in that order.

    Options are shuffled in some sources, so their images come out of order, and a place may be named again: then the
    text says which image of the prompt it is. Images that are never named stand in front.
    """
    present = {int(name[6:]): row[name] for name in row if re.fullmatch(r"image_\d", name) and row[name] is not None}
    text = without_marks(text)
    named = list(dict.fromkeys(int(number) for number in _PLACE.findall(text)))
    if missing := [number for number in named if number not in present]:
        raise Skip("no image for a place in the question", missing[0])
    unnamed = [number for number in sorted(present) if number not in named]
    order = [*unnamed, *named]
    seen: set[int] = set()

    def mark(match: re.Match) -> str:
        number = int(match[1])
        if number in seen:
            return f"(image {order.index(number) + 1})"
        seen.add(number)
        return MARK

    return MARK * len(unnamed) + _PLACE.sub(mark, text), [present[number] for number in order]
