"""What the checker found: counts by kind, and the first rows of each."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

KINDS = {
    "schema": "columns are not those of data_prep's files",
    "prompt": "the prompt is no list of chat turns that ends with the user's",
    "marks": "<image> marks and images differ in number",
    "image": "an image is missing, broken or of a shape no model takes",
    "truth": "the ground truth is missing, or its objective cannot read it",
    "length": "the prompt is longer than --max-prompt-length",
    "licence": "a training row of a data set that must not be trained on",
    "duplicate": "same prompt and images as an earlier row",
    "overlap": "an evaluation row with the question, and the image if there is one, of a training row",
    "image_overlap": "an evaluation row with the image of a training row, but another question",
}
_SHOWN = 3


class Place(NamedTuple):
    """A row of a file."""

    file: Path
    row: int

    def __str__(self) -> str:
        return f"{self.file} row {self.row}"


class Report:
    """Counts of files, rows, images and findings; prints as lines.

    Attributes:
        allowed: kinds that are reported but do not count as failures.
    """

    def __init__(self, allowed: frozenset[str] = frozenset()):
        self.allowed = allowed
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = defaultdict(list)
        self.rows: Counter[Path] = Counter()
        self.images: Counter[Path] = Counter()
        self.longest = 0

    def add(self, kind: str, place: Place | Path, detail: str) -> None:
        self.counts[kind] += 1
        if len(self.first[kind]) < _SHOWN:
            self.first[kind].append(f"{place}: {detail}")

    @property
    def ok(self) -> bool:
        return not any(count for kind, count in self.counts.items() if kind not in self.allowed)

    def __str__(self) -> str:
        lines = [f"{file}: {rows} rows, {self.images[file]} images" for file, rows in self.rows.items()]
        if self.longest:
            lines.append(f"longest prompt: {self.longest} tokens")
        for kind, meaning in KINDS.items():
            if self.counts[kind]:
                allowed = " (allowed)" if kind in self.allowed else ""
                lines.append(f"{kind}{allowed}: {self.counts[kind]} times {meaning}")
                lines += [f"    {text}" for text in self.first[kind]]
                if self.counts[kind] > _SHOWN:
                    lines.append(f"    … and {self.counts[kind] - _SHOWN} more")
        return "\n".join([*lines, "nothing found" if not self.counts.total() else ""]).rstrip()
