"""Tables, figures and a page of the study's results."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from recap_verl.lab import results
from recap_verl.lab.report.figures import write_figures
from recap_verl.lab.report.page import write_page
from recap_verl.lab.report.tables import comparison, write_tables
from recap_verl.lab.statistics import Measures
from recap_verl.lab.study import ENGINES

MEASURES = {
    "vl": Measures(
        target="lab/reason",
        main={
            "lab/reason": "accuracy",
            "lab/ground": "iou",
            "lab/ocr": "exact_match",
            "lab/phrase": "iou",
            "lab/robust_ground": "iou",
            "lab/robust_ocr": "exact_match",
            "lab/copy": "exact_match",
            "lab/facts": "exact_match",
            "lab/facts_unseen": "exact_match",
        },
    ),
    "text": Measures(
        target="lab/sums",
        main={
            "lab/sums": "accuracy",
            "text/last": "exact_match",
            "text/upper": "exact_match",
            "text/first": "exact_match",
            "text/capitals": "exact_match",
            "lab/instructions": "follows",
            "lab/prose": "token_probability",
        },
    ),
}


def write_report(table: Path, out: Path, study: str) -> list[Path]:
    """Everything from the table of results; returns the files written.

    Raises:
        ValueError, FileNotFoundError: no table, or no runs of the study in it.
    """
    rows = _rows(table, study)
    out.mkdir(parents=True, exist_ok=True)
    measures = MEASURES[study]
    # Drawing takes longest, and an engine's figures need nothing of the other's.
    with ProcessPoolExecutor(len(ENGINES), mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = [pool.submit(write_figures, rows, measures, out, study, engine) for engine in ENGINES]
        text = write_tables(rows, measures, out / f"{study}.md")
        figures = [path for paths in drawn for path in paths.result()]
    return [text, *figures, write_page(text, figures, out / f"{study}.html")]


def compare(table: Path, study: str, engine: str, ours: str, theirs: str) -> str:
    """A table of the differences between two arms or variants, paired by base and seed.

    Raises:
        ValueError, FileNotFoundError: no table, no such runs, or none to pair.
    """
    return comparison(_rows(table, study), MEASURES[study], engine, ours, theirs)


def _rows(table: Path, study: str) -> pd.DataFrame:
    if not table.exists():
        raise FileNotFoundError(f"{table} is not there: run arms first (python -m recap_verl.lab run)")
    rows = results.read(table)
    rows = rows[rows.study == study]
    if rows.empty:
        raise ValueError(f"{table} has no runs of the study {study!r}")
    return rows
