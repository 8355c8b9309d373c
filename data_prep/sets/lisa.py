"""ReasonSeg of LISA (arXiv 2308.00692) as boxes: what a sentence that has to be thought through refers to.

- The authors' own folders: a JSON file beside each JPEG with polygons and several instructions; the box is that of all
  polygons labelled `target`. (Visual-RFT's script takes the first polygon, whatever its label.)
- VLM-R1's `lisa_test.json`: paths of images, and a box in pixels.
- The paper's copies, `image`, `problem`, `solution`: a box in pixels, or between 0 and 1.
"""

import re
from collections.abc import Iterator

from data_prep.boxes import Box, xyxy
from data_prep.copies import tagged, without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

_NUMBER = re.compile(r"-?\d{0,6}\.?\d{1,20}")
_THRESHOLD = {"iou": {"frame": "resized", "threshold": 0.5}}


def convert(row: SourceRow) -> Iterator[Example | Skip]:
    if "shapes" in row:
        box = _around([shape["points"] for shape in row["shapes"] if shape["label"] == "target"])
        asks = "What is described here" if row.get("is_sentence") else "Find what is meant"
        for text in row["text"]:
            text = text.strip()
            if not text:
                yield Skip("empty instruction")
                continue
            yield _example(f"{MARK}{asks}: {text}", text, row.file.rpartition(".")[0] + ".jpg", box)
        return
    solution = row["solution"]
    numbers = _NUMBER.findall(tagged(solution)) if isinstance(solution, str) else solution
    problem = without_marks(row["problem"])
    yield _example(MARK + problem, problem, row["image"], xyxy([float(number) for number in numbers]))


def _example(text: str, question: str, image: object, box: Box) -> Example:
    return Example(
        text=text,
        images=[image],
        answer=box,
        boxes=True,
        # A whole image is no bigger than a pixel only in the unit frame.
        unit_boxes=max(box) <= 1,
        reply="box",
        question=question,
    )


def _around(polygons: list[list[list[float]]]) -> Box:
    points = [point for polygon in polygons for point in polygon]
    if not points:
        raise Skip("no target")
    horizontal, vertical = zip(*points, strict=True)
    return xyxy([min(horizontal), min(vertical), max(horizontal), max(vertical)])


DATASET = Dataset(
    name="lisa",
    summary="boxes of what a sentence refers to that has to be thought through (ReasonSeg)",
    role="general",
    licence="unverified",
    hub="yiqingliang/lisa-problems-dataset",
    splits={"train": "train", "val": "val", "test": "test"},
    sizes={"train": 1_326},
    objectives={"iou": {"frame": "resized"}},
    ability="grounding",
    convert=convert,
    settings={
        "rlvr_only": Use(("train",), objectives=_THRESHOLD),
        "hybrid": Use(("test",), role="probe", style="answer"),
    },
)
