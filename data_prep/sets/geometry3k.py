"""Geometry3K (arXiv 2105.04165): the value is asked for, not the letter."""

from data_prep.copies import with_marks
from data_prep.dataset import Dataset, Example, SourceRow


def convert(row: SourceRow) -> Example:
    images = row["images"] or []
    # `answer` is the value; `ground_truth`, in newer copies, a letter.
    return Example(
        text=with_marks(row["problem"], len(images)),
        images=images,
        answer=row["answer"],
        metadata={"choices": row["choices"]} if row.get("choices") else None,
    )


DATASET = Dataset(
    name="geometry3k",
    summary="geometry problems with a diagram, free answers",
    role="target",
    licence="MIT",
    hub="hiyouga/geometry3k",
    splits={"train": "train", "val": "validation", "test": "test"},
    sizes={"train": 2_101, "val": 300, "test": 601},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
)
