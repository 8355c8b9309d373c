"""What a conversion did, kept beside its output so that it is not done again."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_prep.writer import atomic_file


@dataclass(frozen=True)
class Summary:
    """What a conversion did: rows written, rows of the source left out by reason, and where those are listed."""

    path: Path
    rows: int
    skipped: Counter
    listed: Path

    @classmethod
    def recorded(cls, path: Path, fingerprint: str) -> "Summary | None":
        """Of a conversion that is done already, with the same fingerprint."""
        record = _record_of(path)
        if not (path.is_file() and record.is_file()):
            return None
        known = json.loads(record.read_text())
        return (
            cls(path, known["rows"], Counter(known["skipped"]), list_of(path)) if known["of"] == fingerprint else None
        )

    def record(self, fingerprint: str) -> None:
        with atomic_file(_record_of(self.path)) as file:
            file.write(json.dumps({"of": fingerprint, "rows": self.rows, "skipped": self.skipped}).encode())

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
        left_out = f"; left out {self.skipped.total()} ({reasons}), listed in {self.listed}" if self.skipped else ""
        return f"{self.path}: {self.rows} rows{left_out}"


def list_of(path: Path) -> Path:
    """Where the rows that did not become rows of `path` are listed."""
    return path.with_name(f"{path.stem}.skipped.jsonl")


def _record_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.done")
