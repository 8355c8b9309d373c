"""OCRBench v2 (arXiv 2501.00321): thirty kinds of reading text in pictures, each with a score of its own."""

from data_prep.copies import without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.rows import MARK

_FACTS = ("type", "eval", "bbox", "bbox_list", "content", "dataset_name", "id")


def convert(row: SourceRow) -> Example:
    question = without_marks(row["question"])
    return Example(
        text=MARK + question,
        images=[row["image"]],
        # The words to be spotted are in `content`, whose rows are scored without `answers`.
        answer=row["answers"] or row.get("content"),
        question=question,
        metadata={fact: row.get(fact) for fact in _FACTS},
    )


DATASET = Dataset(
    name="ocrbench-v2",
    summary="thirty kinds of reading, parsing and locating text, English and Chinese",
    role="probe",
    licence="MIT by its card, research only by its repository",
    hub="ling99/OCRBench_v2",
    splits={"test": "test"},
    sizes={"test": 10_000},
    objectives={"ocrbench_v2": {}},
    ability="ocr",
    convert=convert,
    settings={"hybrid": Use(("test",))},
)
