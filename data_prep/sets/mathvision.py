"""MATH-Vision (arXiv 2402.14804): problems of mathematical competitions."""

import re

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.options import LETTERS, lettered
from data_prep.rows import MARK

_PLACE = re.compile(r"<image(\d+)>")


def convert(row: SourceRow) -> Example:
    if row["decoded_image"] is None:
        raise Skip("no image")
    options = row["options"] or []
    # Often the options are only drawn, and the list says A to E.
    shown = options if options and options != list(LETTERS[: len(options)]) else []
    text = "\n".join(filter(None, (_marked(row["question"]), lettered(shown) if shown else "")))
    return Example(
        text=text,
        images=[row["decoded_image"]],
        answer=row["answer"],
        reply="letter" if options else "free",
        question=row["question"],
        metadata={"choices": options or None, "level": row.get("level"), "subject": row.get("subject")},
    )


def _marked(question: str) -> str:
    """However many places a question names, one picture shows them all: the mark stands in front."""
    several = len(set(_PLACE.findall(question))) > 1
    return MARK + _PLACE.sub(lambda place: f"(picture {place[1]})" if several else "", question).strip()


DATASET = Dataset(
    name="mathvision",
    summary="competition mathematics with a picture, choices and free answers",
    role="probe",
    licence="MIT",
    hub="MathLLMs/MathVision",
    splits={"val": "testmini", "test": "test"},
    sizes={"val": 304, "test": 3_040},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
    settings={"hybrid": Use(("test",))},
)
