"""AI2D (arXiv 1603.07396), with the labels in the diagrams masked, as lmms-lab/ai2d has it."""

from data_prep.copies import without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.options import letter_at, lettered
from data_prep.rows import MARK


def convert(row: SourceRow) -> Example:
    choices = row["options"]
    # Options can be single letters themselves, so the answer is asked for by its own.
    return Example(
        text=f"{MARK}{without_marks(row['question'])}\n{lettered(choices)}",
        images=[row["image"]],
        answer=letter_at(row["answer"], choices),
        reply="letter",
        question=row["question"],
        metadata={"choices": choices},
    )


DATASET = Dataset(
    name="ai2d",
    summary="diagrams of school science, multiple choice",
    role="probe",
    licence="none on its card",
    hub="lmms-lab/ai2d",
    splits={"test": "test"},
    sizes={"test": 3_088},
    objectives={"multiple_choice": {}},
    ability="science",
    convert=convert,
    settings={"hybrid": Use(("test",))},
)
