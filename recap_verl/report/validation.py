"""Validation scores by data source, from verl's metric names (trainer/ppo/v1/trainer_base.py _val_metrics_update)."""

import re
from dataclasses import dataclass

from recap_verl.report.load import Metrics

# The variable is `acc` where the reward manager returns it, else `reward`. A data source may contain slashes.
_SCORE = re.compile(r"val-core/(?P<source>.+)/(?:acc|reward)/mean@(?P<samples>\d+)")
RETENTION = "recap/retention/"


@dataclass(frozen=True)
class Change:
    """Score of one data source before and after training; None for the one that was not validated."""

    data_source: str
    before: float | None
    after: float | None


def score_names(metrics: Metrics) -> dict[str, str]:
    """Data source -> name of its score; with several sample counts, of the largest.

    ValueError when the run logged no validation.
    """
    found: dict[str, tuple[int, str]] = {}
    for name in metrics.names("val-core/"):
        if match := _SCORE.fullmatch(name):
            candidate = (int(match["samples"]), name)
            found[match["source"]] = max(candidate, found.get(match["source"], candidate))
    if not found:
        raise ValueError("the metrics hold no validation: set data.val_files and trainer.test_freq")
    return {source: name for source, (_, name) in found.items()}


def changes(metrics: Metrics) -> list[Change]:
    """One entry per data source, in the order in which verl logged them."""
    return [_change(metrics, source, name) for source, name in score_names(metrics).items()]


def _change(metrics: Metrics, source: str, name: str) -> Change:
    steps, values = metrics.series(name)
    retention = metrics.series(RETENTION + source)[1]
    if retention and steps[-1] > 0:
        # Measured against the scores before training, even where a resumed run's first file is gone.
        return Change(source, values[-1] - retention[-1], values[-1])
    if len(values) > 1:
        return Change(source, values[0], values[-1])
    return Change(source, None, values[0]) if steps[0] > 0 else Change(source, values[0], None)
