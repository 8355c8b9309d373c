"""ThinkLite-VL-70k (arXiv 2504.07934), the reasoning data of the paper's hybrid setting."""

from data_prep.copies import with_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use


def convert(row: SourceRow) -> Example:
    # `answer` is a sentence, `ground_truth` what it comes to.
    return Example(
        text=with_marks(row["problem"], 1),
        images=[row["image"]],
        answer=row["ground_truth"],
        metadata={"choices": row["choices"]} if row.get("choices") else None,
    )


DATASET = Dataset(
    name="thinklite",
    summary="visual mathematics and science of graded difficulty",
    role="target",
    licence="MIT by a third party's note, unverified",
    hub="russwang/ThinkLite-VL-70k",
    splits={"train": "train"},
    sizes={"train": 69_997},
    objectives={"accuracy": {}},
    ability="reasoning",
    drop_small=True,
    convert=convert,
    settings={"hybrid": Use(("train",))},
)
