"""Detection of all objects of a class, as Visual-RFT (arXiv 2503.01785) made it from COCO.

Boxes are whole thousandths of the image's width and height, in the problem's text and in the truth alike.
"""

import ast

from data_prep.boxes import xyxy
from data_prep.copies import tagged, with_marks
from data_prep.dataset import Dataset, Example, SourceRow
from data_prep.errors import Skip

_LONGEST = 20_000
NOTHING = "No Objects"


def convert(row: SourceRow) -> Example:
    return Example(
        text=with_marks(row["problem"], 1),
        images=[row["image"]],
        answer=_boxes(tagged(row["solution"])),
    )


def _boxes(solution: str) -> list[list[float]] | str:
    """The boxes of a list such as `[{'Position': [1, 2, 3, 4], 'Confidence': 1}]`, which is Python and no JSON."""
    if solution.strip().strip(".").lower() == NOTHING.lower():
        return NOTHING
    if len(solution) > _LONGEST:
        raise Skip("solution is too long", len(solution))
    try:
        entries = ast.literal_eval(solution)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise Skip("solution is no list of boxes", type(error).__name__) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "Position" in entry for entry in entries):
        raise Skip("solution is no list of boxes", solution[:80])
    boxes = [xyxy(entry["Position"]) for entry in entries]
    if outside := [box for box in boxes if min(box) < 0 or max(box) > 1000]:
        raise Skip("box outside of 0-1000", outside[0])
    return boxes


DATASET = Dataset(
    name="coco-detection",
    summary="boxes of all objects of a class, in thousandths of the image",
    role="general",
    licence="Apache-2.0 by its card, photographs under Flickr's terms",
    hub="laolao77/ViRFT_COCO",
    splits={"train": "train"},
    sizes={"train": 6_000},
    objectives={"detection": {"frame": "thousand", "truth_frame": "thousand"}},
    ability="detection",
    convert=convert,
)
