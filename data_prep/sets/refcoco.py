"""RefCOCO, RefCOCO+ (arXiv 1608.00272) and RefCOCOg (arXiv 1511.02283) in the three layouts they are found in.

- VLM-R1's `rec_jsons_processed.zip` (the paper's training data): JSON with paths of images, boxes by two corners. Give
  the folder with `--source`, that of `train2014` with `--images`. Training rows name the object inside the prompt.
- lmms-lab/RefCOCO, RefCOCOplus, RefCOCOg: images inside, boxes by corner and size, several expressions a row. Their
  `val` joins UNC's or UMD's split with Google's, and there is no training split.
- jxu124/refcoco, refcocog: paths of images, so `--images`, several sentences a row.

All boxes are in pixels of the original image.
"""

import json
import re
from collections.abc import Iterator

from data_prep.boxes import Box, from_xywh, xyxy
from data_prep.copies import tagged, without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

_NUMBER = re.compile(r"-?\d{1,6}(?:\.\d{1,20})?")


def convert(row: SourceRow) -> Iterator[Example | Skip]:
    if "conversations" in row:
        human, reference = (turn["value"] for turn in row["conversations"])
        return _examples(row, row["image"], _box_in(reference), [human], asked=True)
    if "solution" in row:
        return _examples(row, row["image"], _box_in(row["solution"]), [row["problem"]], asked=True)
    if "sentences" in row:
        expressions = [sentence["raw"] for sentence in row["sentences"]]
        return _examples(row, row["image_path"], _annotated_box(row), expressions)
    return _examples(row, row["image"], from_xywh(row["bbox"]), row["answer"])


def _examples(
    row: SourceRow, image: object, box: Box, texts: list[str], asked: bool = False
) -> Iterator[Example | Skip]:
    for text in texts:
        text = without_marks(text)
        if not text:
            yield Skip("empty expression")
            continue
        yield Example(
            text=MARK + (text if asked else f"Find what this describes: {text}"),
            images=[image],
            answer=box,
            boxes=True,
            reply="box",
            question=text,
            data_source=_variant(row),
        )


def _box_in(value: object) -> Box:
    """A box as four numbers, or the four in a text such as `<answer>[1, 2, 3, 4]</answer>`."""
    return xyxy([float(number) for number in _NUMBER.findall(tagged(value))] if isinstance(value, str) else value)


def _annotated_box(row: SourceRow) -> Box:
    """COCO's own annotation where the row has it: whether `bbox` holds corners or a size is documented nowhere."""
    annotation = json.loads(row.get("raw_anns") or "{}")
    return from_xywh(annotation["bbox"]) if "bbox" in annotation else xyxy(row["bbox"])


def _variant(row: SourceRow) -> str:
    """From the name of the file, or else of the source."""
    for name in (row.file.lower(), row.config.lower(), row.source.lower().rstrip("/").rpartition("/")[2]):
        if found := re.search(r"refcoco(g|p(?:lus)?(?=[^a-z]|$)|\+)?", name):
            return "refcoco" + {"g": "g", None: ""}.get(found[1], "+")
    return "refcoco"


DATASET = Dataset(
    name="refcoco",
    summary="boxes of the objects that expressions refer to: RefCOCO, RefCOCO+, RefCOCOg",
    role="general",
    licence="annotations unverified, photographs under Flickr's terms",
    splits={"train": "train", "val": "val", "test": "test"},
    sizes={"train": 321_327},
    files=r"(?i)refcoco|\.(parquet|arrow)$",
    data_sources=("refcoco", "refcoco+", "refcocog"),
    # Qwen2.5-VL answers in pixels of the image as resized for it.
    objectives={"iou": {"frame": "resized"}},
    style="answer",
    ability="grounding",
    convert=convert,
    settings={"hybrid": Use(("train",))},
)
