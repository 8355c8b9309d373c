"""VizWiz-VQA (arXiv 1802.08218): blind people's photographs and questions, each with ten answers."""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

_UNCLEAR = 'If the picture does not show it, answer "unanswerable".'


def convert(row: SourceRow) -> Example:
    if not row["answers"]:
        raise Skip("no answer: the labels of split test are withheld")
    return Example(
        text=f"{MARK}{row['question']}\n{_UNCLEAR}",
        images=[row["image"]],
        answer=row["answers"],
        reply="phrase",
        question=row["question"],
        metadata={"category": row.get("category"), "question_id": row.get("question_id")},
    )


DATASET = Dataset(
    name="vizwiz",
    summary="photographs and questions of blind people, short answers",
    role="probe",
    licence="CC BY 4.0, unverified",
    hub="lmms-lab/VizWiz-VQA",
    splits={"val": "val"},
    sizes={"val": 4_319},
    objectives={"vqa_accuracy": {"normalization": "evalai"}},
    ability="vqa",
    convert=convert,
    settings={"hybrid": Use(("val",))},
)
