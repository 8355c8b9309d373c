"""GSM8K (arXiv 2110.14168), asked for in answer tags, not behind `####`."""

from data_prep.dataset import Dataset, Example, SourceRow
from data_prep.errors import Skip


def convert(row: SourceRow) -> Example:
    _, mark, number = row["answer"].rpartition("####")
    if not mark:
        raise Skip("no #### in the answer", row["answer"])
    return Example(text=row["question"].strip(), answer=number.strip().replace(",", ""), reply="number")


DATASET = Dataset(
    name="gsm8k",
    summary="grade school mathematics in words",
    role="target",
    licence="MIT",
    hub="openai/gsm8k",
    configs=("main",),
    splits={"train": "train", "test": "test"},
    sizes={"train": 7_473, "test": 1_319},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
)
