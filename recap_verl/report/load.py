"""Read the metrics that verl's file logger wrote (verl/utils/tracking.py FileLogger, 0.9.1): JSON lines of a run."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

_KEPT = re.compile(r"metrics\.(\d+)\.jsonl")


@dataclass(frozen=True)
class Metrics:
    """All numbers of a run.

    Attributes:
        steps: step -> metric name -> value, in the order of the steps; NaN (null in the file) is left out.
        truncated_lines: last lines that a killed run left unfinished.
    """

    steps: dict[int, dict[str, float]]
    truncated_lines: int

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix`, in order of first appearance."""
        return list(dict.fromkeys(name for data in self.steps.values() for name in data if name.startswith(prefix)))

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps at which `name` was logged, and its values there."""
        points = [(step, data[name]) for step, data in self.steps.items() if name in data]
        return [step for step, _ in points], [value for _, value in points]

    def last(self, name: str) -> float:
        """The newest value of `name`."""
        return self.series(name)[1][-1]


def load_metrics(run_dir: Path) -> Metrics:
    """Read `run_dir/metrics.jsonl`, and before it the `metrics.<k>.jsonl` that earlier starts of the run left.

    A step may be there several times (a resumed run repeats those after its checkpoint, and validates once more at
    the checkpoint's own step): the last value of each metric counts.

    Raises FileNotFoundError without such a file, ValueError for one that is empty or not written by verl.
    """
    merged: dict[int, dict[str, float]] = {}
    truncated = 0
    for path in _metrics_files(run_dir):
        records, cut = _read_records(path)
        truncated += cut
        for step, data in records:
            merged.setdefault(step, {}).update(data)
    if not merged:
        raise ValueError(f"the metrics file in {run_dir} has no complete line: let the run finish a step first")
    return Metrics(dict(sorted(merged.items())), truncated)


def _metrics_files(run_dir: Path) -> list[Path]:
    """Oldest first."""
    numbered = [
        (int(match[1]), path) for path in run_dir.glob("metrics.*.jsonl") if (match := _KEPT.fullmatch(path.name))
    ]
    files = [path for _, path in sorted(numbered)]
    current = run_dir / "metrics.jsonl"
    if current.is_file():
        files.append(current)
    if not files:
        raise FileNotFoundError(
            f"{run_dir} has no metrics.jsonl: add 'file' to trainer.logger and set VERL_FILE_LOGGER_PATH={current}"
        )
    return files


def _read_records(path: Path) -> tuple[list[tuple[int, dict[str, float]]], int]:
    """(step, numbers) of each line, and how many lines were cut off: 0 or 1."""
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            step, data = int(record["step"]), record["data"].items()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # verl ends every record with a newline, so only what follows the last one can be unfinished.
            if number == len(lines):
                return records, 1
            raise ValueError(f"{path}, line {number} is no record of verl's file logger: {error}") from error
        records.append((step, {name: float(value) for name, value in data if isinstance(value, int | float)}))
    return records, 0
