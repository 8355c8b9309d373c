"""GeoQAV: the multiple-choice geometry problems of the paper's RLVR-only setting, in its authors' layout.

lmms-lab/multimodal-open-r1-8k-verified, which they seem to come from, has the same columns; some of its answers are
numbers.
"""

import re

from data_prep.copies import from_copy
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip

_LETTER = re.compile(r"\(?[A-H]\)?\.?")


def convert(row: SourceRow) -> Example:
    example = from_copy(row)
    if not example.images:
        raise Skip("no image")
    if not example.answer:
        raise Skip("empty answer")
    if not _LETTER.fullmatch(example.answer):
        example.reply = "free"
    return example


DATASET = Dataset(
    name="geoqav",
    summary="geometry with a diagram, multiple choice; MathVerse has problems of the same origin",
    role="target",
    licence="unverified",
    hub="yiqingliang/geoqav-problems-dataset",
    splits={"train": "train"},
    sizes={"train": 1_969},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
    settings={"rlvr_only": Use(("train",))},
)
