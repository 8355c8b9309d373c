"""MMMU-Pro (arXiv 2409.02813): ten options, and the whole question inside a picture. Its score is the mean of both."""

from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.errors import Skip
from data_prep.options import LETTERS, lettered, parse_list
from data_prep.placed_images import place_images
from data_prep.rows import MARK

STANDARD, VISION = "mmmu-pro-standard", "mmmu-pro-vision"


def convert(row: SourceRow) -> Example:
    choices = parse_list(row["options"])
    if (answer := row["answer"].strip()) not in LETTERS[: len(choices)]:
        raise Skip("answer is no option", repr(answer))
    facts = {"choices": choices, "subject": row.get("subject"), "id": row.get("id")}
    if "question" in row:
        text, images = place_images(f"{row['question']}\n{lettered(choices)}", row)
        return Example(text, answer, images, reply="letter", metadata=facts, data_source=STANDARD)
    # The options stand in the picture.
    text = f"{MARK}Answer the question in the picture."
    return Example(text, answer, [row["image"]], reply="letter", metadata=facts, data_source=VISION)


DATASET = Dataset(
    name="mmmu-pro",
    summary="college questions with ten options, and as pictures of themselves",
    role="probe",
    licence="Apache-2.0",
    hub="MMMU/MMMU_Pro",
    configs=("standard (10 options)", "vision"),
    splits={"test": "test"},
    sizes={"test": 3_460},
    objectives={"mmmu": {}},
    data_sources=(STANDARD, VISION),
    ability="knowledge",
    convert=convert,
    settings={"hybrid": Use(("test",))},
)
