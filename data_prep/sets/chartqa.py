"""ChartQA (arXiv 2203.10244), from lmms-lab/ChartQA (test alone) or HuggingFaceM4/ChartQA."""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.rows import MARK

_KINDS = {"human_test": "human", "augmented_test": "augmented", 0: "human", 1: "augmented"}


def convert(row: SourceRow) -> Example:
    if "query" in row:
        question, answers, kind = row["query"], row["label"], row.get("human_or_machine")
    else:
        question, answers, kind = row["question"], row["answer"], row.get("type")
    if isinstance(answers, list) and len(answers) == 1:
        answers = answers[0]
    return Example(
        text=MARK + question,
        images=[row["image"]],
        answer=answers,
        reply="phrase",
        metadata={"type": _KINDS.get(kind, kind)},
    )


DATASET = Dataset(
    name="chartqa",
    summary="questions about charts, short answers",
    role="probe",
    licence="GPL-3.0",
    hub="HuggingFaceM4/ChartQA",
    splits={"train": "train", "val": "val", "test": "test"},
    sizes={"train": 28_299, "val": 1_920, "test": 2_500},
    objectives={"relaxed_accuracy": {}},
    ability="charts",
    convert=convert,
    settings={"rlvr_only": Use(("test",))},
)
