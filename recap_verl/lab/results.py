"""The tidy table of the study: one line for each number of each run, appended a whole run at a time."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock

from data_prep.writer import atomic_file

RUN = ("engine", "study", "base", "arm", "variant", "seed")
COLUMNS = (*RUN, "step", "data_source", "decoding", "metric", "value")


# Training curves are kept as means over so many steps: the table is committed, and single steps are mostly noise.
STEPS_OF_A_MEAN = 10


def thinned(rows: Sequence[dict]) -> list[dict]:
    """Validation as it is; of training metrics the mean of each ten steps, at the last of them."""
    curves, kept = {}, []
    for row in rows:
        if row["decoding"] != "train":
            kept.append(row)
            continue
        block = (row["step"] - 1) // STEPS_OF_A_MEAN
        curves.setdefault((block, row["data_source"], row["metric"]), []).append(row)
    for block in curves.values():
        mean = sum(row["value"] for row in block) / len(block)
        kept.append({**block[-1], "value": mean})
    return kept


def append(path: Path, rows: Sequence[dict]) -> None:
    """Add the rows of one run; other processes may do the same at the same time, and a kill leaves the old file.

    Raises:
        ValueError: rows of several runs, of a run that the table has, or with other columns.
    """
    runs = {tuple(row[name] for name in RUN) for row in rows}
    if len(runs) != 1 or any(set(row) != set(COLUMNS) for row in rows):
        raise ValueError(
            f"append takes the rows of one run with the columns {', '.join(COLUMNS)}, not {len(runs)} runs"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if runs & finished(path):
            raise ValueError(f"{path} has the run {runs.pop()} already")
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if not path.exists():
            writer.writeheader()
        writer.writerows({**row, "value": f"{row['value']:.6g}"} for row in rows)
        old = path.read_bytes() if path.exists() else b""
        with atomic_file(path) as file:
            file.write(old + text.getvalue().encode())


def read(path: Path) -> pd.DataFrame:
    """The whole table.

    Raises:
        ValueError: it is not such a table; the message names the file and what is wrong.
    """
    try:
        table = pd.read_csv(
            path,
            keep_default_na=False,
            dtype={"base": str, "seed": int, "step": int, "value": float, "variant": str},
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} is no table of results: {error}") from error
    if tuple(table.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {', '.join(table.columns)} instead of {', '.join(COLUMNS)}")
    return table


def finished(path: Path) -> set[tuple]:
    """(engine, study, base, arm, variant, seed) of every run in the table."""
    if not path.exists():
        return set()
    return set(read(path)[list(RUN)].drop_duplicates().itertuples(index=False, name=None))
