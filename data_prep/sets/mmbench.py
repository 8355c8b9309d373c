"""MMBench (arXiv 2307.06281), English, development split; the answers of its test split are withheld.

Its score is circular: the rows of a question whose options were rotated, one `group` in the metadata, must all be
right. The score of a row here is its own.
"""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.options import lettered
from data_prep.rows import MARK

_MISSING = (None, "", "nan")
# Rows of one question are this far apart.
_ROTATION = 1_000_000


def convert(row: SourceRow) -> Example:
    if row["answer"] in _MISSING:
        raise Skip("no answer: the labels of split test are withheld")
    choices = [row[letter] for letter in "ABCD" if row.get(letter) not in _MISSING]
    if row["answer"] not in "ABCD"[: len(choices)]:
        raise Skip("answer is no option", repr(row["answer"]))
    hint = "" if row.get("hint") in _MISSING else row["hint"]
    return Example(
        text=MARK + "\n".join(filter(None, (hint, row["question"], lettered(choices)))),
        images=[row["image"]],
        answer=row["answer"],
        reply="letter",
        question=row["question"],
        metadata={"choices": choices, "group": int(row["index"]) % _ROTATION, "category": row.get("category")},
    )


DATASET = Dataset(
    name="mmbench",
    summary="perception and reasoning in twenty kinds, multiple choice",
    role="probe",
    licence="unverified",
    hub="lmms-lab/MMBench",
    configs=("en",),
    splits={"val": "dev"},
    sizes={"val": 4_329},
    objectives={"multiple_choice": {}},
    ability="perception",
    convert=convert,
    settings={"hybrid": Use(("val",))},
)
