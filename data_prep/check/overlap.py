"""Rows that are there twice, and evaluation rows that training has seen."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from data_prep.check.findings import Place, Report
from data_prep.check.image_hash import ImageIndex, difference_hash, digest_of

# Signs of arithmetic make another question (3 + 4 and 3 - 4), a hyphen between letters does not.
_NOT_ASKED = re.compile(r"[^\w+*/^=<>%√×÷−-]+|_|(?<=[^\W\d])-(?=[^\W\d])")


class _Image(NamedTuple):
    """What is kept of an image: how it looks, its bytes' digest, its row's question and place."""

    hashed: np.ndarray
    digest: bytes
    question: bytes
    place: Place


@dataclass
class _Side:
    """Training or evaluation rows; questions are of rows without images."""

    questions: dict[bytes, Place] = field(default_factory=dict)
    images: list[_Image] = field(default_factory=list)


class Overlaps:
    """Sees every row once, keeps some hundred bytes of each, and reports when all have been seen."""

    def __init__(self, report: Report):
        self.report = report
        self._seen: dict[bytes, Place] = {}
        self._training, self._evaluation = _Side(), _Side()

    def see(self, row: dict, images: list, place: Place, training: bool) -> None:
        """
        Args:
            images: decoded, one for each of the row's.
        """
        digests = [digest_of(image["bytes"]) for image in row["images"] or ()]
        turns = [f"{turn['role']}\n{turn['content']}" for turn in row["prompt"]]
        key = digest_of(b"".join([*digests, "\n".join(turns).encode()]))
        first = self._seen.setdefault(key, place)
        if first != place:
            self.report.add("duplicate", place, f"as {first}")
        side = self._training if training else self._evaluation
        question = _digest_of_question(row)
        if not images:
            side.questions.setdefault(question, place)
        for image, digest in zip(images, digests, strict=True):
            side.images.append(_Image(difference_hash(image), digest, question, place))

    def finish(self) -> None:
        for question, place in self._evaluation.questions.items():
            if question in self._training.questions:
                self.report.add("overlap", place, f"the question of {self._training.questions[question]}")
        for kind, found in zip(("overlap", "image_overlap"), self._image_overlaps(), strict=True):
            for place, seen in sorted(found.items()):
                self.report.add(kind, place, f"the image of {seen}")

    def _image_overlaps(self) -> tuple[dict[Place, Place], dict[Place, Place]]:
        """Evaluation row -> the first training row with its image and question; and those with its image alone."""
        evaluation = self._evaluation.images
        index = ImageIndex([image.hashed for image in evaluation], [image.digest for image in evaluation])
        same, image_alone = {}, {}
        for hashed, digest, question, place in self._training.images:
            for _, _, other_question, evaluated in map(evaluation.__getitem__, index.like(hashed, digest)):
                (same if question == other_question else image_alone).setdefault(evaluated, place)
        return same, {place: seen for place, seen in image_alone.items() if place not in same}


def _digest_of_question(row: dict) -> bytes:
    """Without case, punctuation and spaces, which copies of a data set differ in."""
    question = (row["extra_info"] or {}).get("question") or row["prompt"][-1]["content"]
    return digest_of(_NOT_ASKED.sub("", question.casefold()).encode())
