"""ScienceQA (arXiv 2209.09513), the questions with an image, as the paper and ScienceQA-IMG have them."""

from data_prep.copies import from_copy, is_copy
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.options import letter_at, lettered
from data_prep.rows import MARK


def convert(row: SourceRow) -> Example:
    if is_copy(row) and "choices" not in row:
        return from_copy(row)
    if row["image"] is None:
        raise Skip("no image")
    choices = row["choices"]
    context = f"Context: {hint}" if (hint := (row.get("hint") or "").strip()) else ""
    return Example(
        text=MARK + "\n".join(filter(None, (context, row["question"], lettered(choices)))),
        images=[row["image"]],
        answer=letter_at(row["answer"], choices),
        reply="letter",
        question=row["question"],
        metadata={"choices": choices, "topic": row.get("topic"), "subject": row.get("subject")},
    )


DATASET = Dataset(
    name="scienceqa",
    summary="school science with a picture, multiple choice",
    role="target",
    licence="hub CC BY-SA 4.0, source repository CC BY-NC-SA 4.0",
    hub="derek-thomas/ScienceQA",
    splits={"train": "train", "val": "validation", "test": "test"},
    sizes={"train": 6_218, "val": 2_097, "test": 2_017},
    objectives={"accuracy": {}},
    ability="science",
    convert=convert,
    settings={"rlvr_only": Use(("train", "test"))},
)
