"""InfographicVQA (arXiv 2104.12756), a configuration of lmms-lab/DocVQA; the answers of its test split are withheld."""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK


def convert(row: SourceRow) -> Example:
    if not row["answers"]:
        raise Skip("no answer: the labels of split test are withheld")
    return Example(
        text=MARK + row["question"],
        images=[row["image"]],
        answer=row["answers"],
        reply="phrase",
        metadata={"answer_type": row.get("answer_type")},
    )


DATASET = Dataset(
    name="infovqa",
    summary="questions about infographics, short answers",
    role="probe",
    licence="Apache-2.0 by its card, the source's terms unverified",
    hub="lmms-lab/DocVQA",
    configs=("InfographicVQA",),
    splits={"train": "train", "val": "validation"},
    sizes={"train": 23_946, "val": 2_801},
    objectives={"anls": {}},
    ability="documents",
    convert=convert,
    settings={"rlvr_only": Use(("val",))},
)
