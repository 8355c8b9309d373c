"""ReasonSeg of LISA (arXiv 2308.00692) as boxes: what a sentence that has to be thought through refers to.

- The authors' own folders: a JSON file beside each JPEG with polygons and several instructions. The box is that of all
  polygons but those that the authors' loader leaves out, `flag` and `ignore`. (Visual-RFT's script takes the first
  polygon, whatever its label.) Their validation asks a picture's first instruction alone: `expression` 0.
- VLM-R1's `lisa_test.json`: paths of images, and a box in pixels.
- Copies with `image`, `problem`, `solution`, as the paper has them: a box, or a list of `{'Position': box}` as
  Visual-RFT writes it; in pixels, between 0 and 1, or in thousandths where the problem says so.
"""

import re
from collections.abc import Iterator

from data_prep.boxes import Box, xyxy
from data_prep.copies import tagged, without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK
from recap_verl.objectives.boxes import parse_boxes

_THOUSANDTHS = re.compile(r"between 0 and 1,?000\b")
# How the copies' problems ask for an answer, which contradicts how it is asked for here.
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")
_FORM = re.compile(r"</?think>|</?answer>|'Position'|\bformat\b")
_FRAME = re.compile(r" ?\(between [^()]{0,100}\)")
_THRESHOLD = {"iou": {"frame": "resized", "threshold": 0.5}}


def convert(row: SourceRow) -> Iterator[Example | Skip]:
    if "shapes" in row:
        yield from _annotated(row)
        return
    box, problem = _boxed(row["solution"]), without_marks(row["problem"])
    thousandths = bool(_THOUSANDTHS.search(problem))
    question = _question(problem)
    yield Example(
        text=MARK + question,
        images=[row["image"]],
        answer=[number / 1000 for number in box] if thousandths else box,
        boxes=True,
        # A box that is no bigger than a pixel is one in shares of the sides.
        unit_boxes=thousandths or max(box) <= 1,
        reply="box",
        question=question,
    )


def _annotated(row: SourceRow) -> Iterator[Example | Skip]:
    """A row of the authors' folders: one row for each instruction."""
    box = _around([point for shape in row["shapes"] if _is_target(shape["label"]) for point in shape["points"]])
    asks = "What is described here" if row.get("is_sentence") else "Find what is meant"
    image = row.file.rpartition(".")[0] + ".jpg"
    for number, text in enumerate(row["text"]):
        text = text.strip()
        if not text:
            yield Skip("empty instruction")
            continue
        yield Example(
            text=f"{MARK}{asks}: {text}",
            images=[image],
            answer=box,
            boxes=True,
            reply="box",
            question=text,
            metadata={"expression": number},
        )


def _is_target(label: str) -> bool:
    """As in the authors' loader (utils/data_processing.py)."""
    return label.lower() != "flag" and "ignore" not in label.lower()


def _boxed(solution: object) -> Box:
    """The box of a solution, around all of them if it has several."""
    if not isinstance(solution, str):
        return xyxy(solution)
    boxes = [xyxy(list(box.corners)) for box in parse_boxes(tagged(solution))]
    if not boxes:
        raise Skip("no box", solution)
    return _around([corner for box in boxes for corner in (box[:2], box[2:])])


def _question(problem: str) -> str:
    sentences = [sentence for sentence in _SENTENCE.split(problem) if not _FORM.search(sentence)]
    return _FRAME.sub("", " ".join(sentences)).strip() or problem


def _around(points: list[list[float]]) -> Box:
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
