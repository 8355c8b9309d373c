"""The OCR part of LLaVA-OneVision-Data (arXiv 2408.03326): eight configurations, learnt from their answers."""

from data_prep.copies import without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

# `chrome_writting` is what the hub calls it.
CONFIGS = (
    "iiit5k",
    "hme100k",
    "iam(cauldron)",
    "chrome_writting",
    "textcaps",
    "textocr(gpt4v)",
    "rendered_text(cauldron)",
    "k12_printing",
)
_SPEAKERS = ["human", "gpt"]


def convert(row: SourceRow) -> Example:
    turns = row["conversations"]
    if [turn["from"] for turn in turns] != _SPEAKERS:
        raise Skip("not one question and one answer", len(turns))
    if row["image"] is None:
        raise Skip("no image")
    question, answer = without_marks(turns[0]["value"]), turns[1]["value"].strip()
    if not answer:
        raise Skip("empty answer")
    return Example(
        text=MARK + question,
        images=[row["image"]],
        answer=answer,
        question=question,
        metadata={"part": row.get("data_source") or row.config, "id": row.get("id")},
    )


DATASET = Dataset(
    name="llava-ocr",
    summary="reading text in pictures, with reference answers: the OCR part of LLaVA-OneVision",
    role="general",
    kind="sft",
    licence="Apache-2.0 by its card",
    hub="lmms-lab/LLaVA-OneVision-Data",
    configs=CONFIGS,
    # As in the authors' code; together the 66,468 rows of the paper.
    rows_per_config=10_000,
    splits={"train": "train"},
    sizes={"train": 66_468},
    objectives={"anls": {}},
    style="answer",
    max_side=512,
    ability="ocr",
    convert=convert,
    settings={"hybrid": Use(("train",))},
)
