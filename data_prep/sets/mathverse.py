"""MathVerse (arXiv 2403.14624), testmini: each problem in five versions, from all text to all picture.

The configuration testmini_text_only has the problems without their pictures: give it with `--config`, or its file with
`--source`.
"""

import re

from data_prep.copies import without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

_LETTER = re.compile(r"\(?([A-H])\)?\.?")
_IN_PICTURE = "Answer the question in the picture."


def convert(row: SourceRow) -> Example:
    if row["image"] is None:
        raise Skip("no image")
    # The text-only configuration has "" for an image.
    images = [row["image"]] if row["image"] else []
    question = without_marks(row["question"])
    if not question and not images:
        raise Skip("no question")
    is_choice = row["question_type"] == "multi-choice"
    return Example(
        text=MARK * len(images) + (question or _IN_PICTURE),
        images=images,
        answer=_letter(row["answer"]) if is_choice else row["answer"].strip(),
        reply="letter" if is_choice else "free",
        question=row.get("question_for_eval") or question,
        metadata={
            "version": row.get("problem_version"),
            "problem": row.get("problem_index"),
            "question_type": row["question_type"],
        },
    )


def _letter(answer: str) -> str:
    """Some keys are written `(C)`."""
    if not (found := _LETTER.fullmatch(answer.strip())):
        raise Skip("answer is no letter", repr(answer))
    return found[1]


DATASET = Dataset(
    name="mathverse",
    summary="geometry and functions in five versions, choices and free answers",
    role="probe",
    licence="MIT (its repository; the data assumed so)",
    hub="AI4Math/MathVerse",
    configs=("testmini",),
    files=r"(?<!text_only)\.\w+$",
    splits={"test": "testmini"},
    sizes={"test": 3_940},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
    settings={"hybrid": Use(("test",))},
)
