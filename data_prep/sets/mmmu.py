"""MMMU (arXiv 2311.16502): thirty subjects, up to seven images a question. The answers of its test are withheld."""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.options import LETTERS, lettered, parse_list
from data_prep.placed_images import place_images

SUBJECTS = (
    *("Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory", "Basic_Medical_Science"),
    *("Biology", "Chemistry", "Clinical_Medicine", "Computer_Science", "Design", "Economics", "Electronics"),
    *("Diagnostics_and_Laboratory_Medicine", "Energy_and_Power", "Finance", "Geography", "History", "Literature"),
    *("Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music", "Pharmacy", "Physics"),
    *("Psychology", "Public_Health", "Sociology"),
)
_WITHHELD = "?"


def convert(row: SourceRow) -> Example:
    if row["answer"] in (None, "", _WITHHELD):
        raise Skip("no answer: the labels of split test are withheld")
    is_open = row["question_type"] == "open"
    choices = [] if is_open else parse_list(row["options"])
    asked = row["question"] if is_open else f"{row['question']}\n{lettered(choices)}"
    text, images = place_images(asked, row)
    return Example(
        text=text,
        images=images,
        answer=_texts(row["answer"]) if is_open else _letter(row["answer"], choices),
        reply="phrase" if is_open else "letter",
        question=row["question"],
        metadata={
            "question_type": row["question_type"],
            "choices": choices or None,
            "subfield": row.get("subfield"),
            "id": row.get("id"),
        },
    )


def _letter(answer: str, choices: list[str]) -> str:
    if answer.strip() not in LETTERS[: len(choices)]:
        raise Skip("answer is no option", repr(answer))
    return answer.strip()


def _texts(answer: str) -> str | list[str]:
    """Some open questions have several answers, as a Python list in a string."""
    return parse_list(answer) if answer.strip().startswith("[") else answer


DATASET = Dataset(
    name="mmmu",
    summary="college questions of thirty subjects, choices and short answers",
    role="probe",
    licence="Apache-2.0",
    hub="MMMU/MMMU",
    configs=SUBJECTS,
    splits={"val": "validation"},
    sizes={"val": 900},
    objectives={"mmmu": {}},
    ability="knowledge",
    convert=convert,
    settings={"rlvr_only": Use(("val",))},
)
