"""Scores at the end of runs, their intervals over seeds, and differences between arms paired by seed."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from recap_verl.lab.arms import common_part
from recap_verl.lab.results import RUN

RUNS = list(RUN)
# Runs of two arms are compared where they share these.
PAIR = ["base", "seed"]
SERIES = ["data_source", "decoding", "metric"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with two 95% intervals; NaN where there are too few seeds for one.

    Attributes:
        n: seeds.
        mean: of them.
        low, high: bootstrap (bias-corrected and accelerated), from 3 seeds on. With fewer than about ten seeds it is
            too narrow.
        t_low, t_high: Student's, from 2 seeds on.
    """

    n: int
    mean: float
    low: float
    high: float
    t_low: float
    t_high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both intervals do."""
        return (self.n > 2 and min(self.low, self.t_low) > 0) or max(self.high, self.t_high) < 0


def estimate(values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean and intervals of (seeds,) values."""
    values = np.asarray(values, dtype=float)
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    low = high = t_low = t_high = np.nan
    if n > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
        t_low, t_high = mean - half, mean + half
    if n > 2 and np.ptp(values) > 0:
        with warnings.catch_warnings():
            # Seeds that agree but for one leave no distribution to correct: the result is NaN then.
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (values,), np.mean, n_resamples=2000, confidence_level=CONFIDENCE, rng=np.random.default_rng(seed)
            )
        low, high = map(float, found.confidence_interval)
    if n > 2 and not np.isfinite([low, high]).all():
        low, high = t_low, t_high
    return Estimate(n, mean, low, high, t_low, t_high)


def validation(table: pd.DataFrame) -> pd.DataFrame:
    """Validation scores alone."""
    return table[table.decoding != "train"]


def at_end(scores: pd.DataFrame) -> pd.DataFrame:
    """For each run and series `before` (step 0) and `final` (its last step); runs without a step 0 are an error."""
    keys = RUNS + SERIES
    ordered = scores.sort_values("step")
    first, last = ordered.groupby(keys).first(), ordered.groupby(keys).last()
    if (first.step != 0).any():
        raise ValueError(f"a run was not validated before training: {first.index[(first.step != 0)][0]}")
    best = scores.groupby(keys).value.max()
    return pd.DataFrame({"before": first.value, "final": last.value, "best": best, "step": last.step}).reset_index()


@dataclass(frozen=True)
class Measures:
    """Which series count as what.

    Attributes:
        target: data source of the target.
        main: data source -> its main metric.
    """

    target: str
    main: dict[str, str]

    @property
    def general(self) -> list[str]:
        """All data sources but the target."""
        return [source for source in self.main if source != self.target]


def continual_learning(ends: pd.DataFrame, measures: Measures) -> pd.DataFrame:
    """One row for each run and decoding, in the field's terms, over main metrics.

    target: final score of the target. final_average: mean final score of all other data sources. backward_transfer:
    mean of final minus before over these. forgetting: mean of best minus final. worst: the smallest final minus base.
    """
    main = ends[ends.metric == ends.data_source.map(measures.main)]
    general = main[main.data_source.isin(measures.general)].assign(
        change=lambda t: t.final - t.before, lost=lambda t: t.best - t.final
    )
    keys = [*RUNS, "decoding"]
    grouped = general.groupby(keys)
    target = main[main.data_source == measures.target].set_index(keys).final
    return pd.DataFrame(
        {
            "target": target,
            "final_average": grouped.final.mean(),
            "backward_transfer": grouped.change.mean(),
            "forgetting": grouped.lost.mean(),
            "worst": grouped.change.min(),
        }
    ).reset_index()


def paired(values: pd.DataFrame, column: str, against: str, engine: str) -> dict[tuple, Estimate]:
    """(arm, variant) -> difference of `column` to the arm `against`, over the bases and seeds that both have.

    A variant is compared with the runs of `against` that share its settings but for the weighting (`common_part`).

    Args:
        values: one row for each run, for one decoding.
    """
    runs = {
        name: own.set_index(PAIR)[column]
        for name, own in values[values.engine == engine].groupby(["arm", "variant"], sort=False)
    }
    found = {}
    for (arm, variant), own in runs.items():
        reference = against, common_part(variant)
        if (arm, variant) != reference and reference in runs:
            value = _difference(own, runs[reference])
            if value.n:
                found[arm, variant] = value
    return found


def difference(values: pd.DataFrame, column: str, ours: tuple[str, str], theirs: tuple[str, str]) -> Estimate:
    """Of `column` between two (arm, variant), over the bases and seeds that both have.

    Args:
        values: one row for each run, for one engine and decoding.
    """
    first, second = (
        values[(values.arm == arm) & (values.variant == variant)].set_index(PAIR)[column]
        for arm, variant in (ours, theirs)
    )
    return _difference(first, second)


def _difference(first: pd.Series, second: pd.Series) -> Estimate:
    return estimate((first - second).dropna().to_numpy())
