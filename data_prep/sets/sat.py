"""SAT (arXiv 2412.07755), spatial reasoning: array/SAT (raw bytes), array/SAT-v2, nv-njb/SAT or the authors' copies."""

import hashlib
import random

from data_prep.copies import from_copy, is_copy, without_marks
from data_prep.dataset import Dataset, Example, SourceRow, Use
from data_prep.options import letter_at, letter_of, lettered
from data_prep.rows import MARK


def convert(row: SourceRow) -> Example:
    if is_copy(row) and "answers" not in row:
        return from_copy(row)
    images = row["images"] if "images" in row else row["image_bytes"]
    answers = row["answers"]
    if "correct_answer_idx" in row:
        right = answers[ord(letter_at(row["correct_answer_idx"], answers)) - ord("A")]
    else:
        right = row["correct_answer"]
    question = without_marks(row["question"])
    choices = _shuffled(answers, question, images)
    return Example(
        text=f"{MARK * len(images)}{question}\n{lettered(choices)}",
        images=images,
        answer=letter_of(right, choices),
        reply="letter",
        question=question,
        metadata={"choices": choices, "question_type": row.get("question_type")},
    )


def _shuffled(answers: list[str], question: str, images: list) -> list[str]:
    """The right answer stands at one place too often in the source.

    The order follows from the row alone. Without the image in its seed it would be one order for each of the source's
    few questions, and the letter would still tell the answer.
    """
    first = images[0]["bytes"] if isinstance(images[0], dict) else images[0]
    seed = hashlib.sha256("\n".join([question, *answers]).encode() + first)
    return random.Random(seed.digest()).sample(answers, len(answers))


DATASET = Dataset(
    name="sat",
    summary="spatial reasoning over one or two images, multiple choice",
    role="target",
    licence="MIT",
    hub="array/SAT-v2",
    splits={"train": "train", "val": "val", "test": "test"},
    sizes={"train": 172_384, "val": 4_001, "test": 150},
    objectives={"accuracy": {}},
    ability="spatial",
    convert=convert,
    settings={"rlvr_only": Use(("train", "test"), limit=15_000)},
)
