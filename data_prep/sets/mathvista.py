"""MathVista (arXiv 2310.02255), testmini. Its licence admits tests only, so there is no training split to convert."""

from data_prep.copies import without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.rows import MARK

_FACTS = ("question_type", "answer_type", "choices", "precision", "unit", "pid")


def convert(row: SourceRow) -> Example:
    if not row["answer"]:
        raise Skip("no answer: the labels of split test are withheld")
    # `image` is a path; of a choice question `answer` is the text of the option.
    return Example(
        text=MARK + without_marks(row["query"]),
        images=[row["decoded_image"]],
        answer=row["answer"],
        question=row["question"],
        metadata={fact: row[fact] for fact in _FACTS},
    )


_USE = Use(("test",))
DATASET = Dataset(
    name="mathvista",
    summary="mathematics in pictures, choices and numbers",
    role="probe",
    licence="CC BY-SA 4.0, test use only, training prohibited",
    trainable=False,
    hub="AI4Math/MathVista",
    splits={"test": "testmini"},
    sizes={"test": 1_000},
    objectives={"mathvista": {}},
    ability="math",
    convert=convert,
    settings={"rlvr_only": _USE, "hybrid": _USE},
)
