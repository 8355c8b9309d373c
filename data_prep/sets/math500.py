"""MATH-500, the 500 problems of arXiv 2305.20050 out of MATH (arXiv 2103.03874)."""

from data_prep.dataset import Dataset, Example, SourceRow


def convert(row: SourceRow) -> Example:
    return Example(
        text=row["problem"].strip(),
        answer=row["answer"].strip(),
        metadata={"subject": row.get("subject"), "level": row.get("level"), "unique_id": row.get("unique_id")},
    )


DATASET = Dataset(
    name="math500",
    summary="competition mathematics",
    role="probe",
    licence="unverified",
    hub="HuggingFaceH4/MATH-500",
    splits={"test": "test"},
    sizes={"test": 500},
    objectives={"accuracy": {}},
    ability="math",
    convert=convert,
)
