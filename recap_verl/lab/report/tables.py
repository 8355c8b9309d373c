"""The tables of the report, in markdown."""

from pathlib import Path

import pandas as pd

from recap_verl.lab.arms import ARMS
from recap_verl.lab.statistics import (
    Estimate,
    Measures,
    at_end,
    continual_learning,
    difference,
    estimate,
    paired,
    validation,
)
from recap_verl.lab.study import ENGINES

DECODINGS = ("greedy", "sampled")
COMPARED = ("target", "final_average", "worst")


def write_tables(rows: pd.DataFrame, measures: Measures, path: Path) -> Path:
    """All tables of a study into one file."""
    ends = at_end(validation(rows))
    learned = continual_learning(ends, measures)
    parts = []
    for engine in ENGINES:
        of_engine = ends[(ends.engine == engine) & (ends.variant == "")]
        if of_engine.empty:
            continue
        for (base, decoding), chosen in of_engine.groupby(["base", "decoding"], sort=False):
            parts += [f"## {engine} engine, {decoding}, base {base}: final scores", retention(chosen, measures)]
        for decoding in DECODINGS:
            chosen = learned[(learned.decoding == decoding) & (learned.engine == engine)]
            for base, of_base in chosen.groupby("base", sort=False):
                parts += [f"## {engine} engine, {decoding}, base {base}: continual learning", learning(of_base)]
            if not chosen.empty:
                for against in ("uniform", "reasoning_only"):
                    parts += [
                        f"## {engine} engine, {decoding}: paired differences to {against}",
                        differences(chosen, against, engine),
                    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n")
    return path


def retention(ends: pd.DataFrame, measures: Measures) -> str:
    """Final score of every arm on every data source's metrics, in points, with its bootstrap interval."""
    series = [(source, metric) for source, metric in _series(ends, measures)]
    head = ["arm", "n", *(f"{source.removeprefix('lab/')} {metric}" for source, metric in series)]
    before = ends.groupby(["data_source", "metric"]).before.mean()
    lines = [["base", "", *(_points(before.get(key, float("nan"))) for key in series)]]
    for arm in _in_order(ends):
        runs = ends[ends.arm == arm]
        cells = []
        for source, metric in series:
            values = runs[(runs.data_source == source) & (runs.metric == metric)].final
            cells.append(_with_interval(estimate(values.to_numpy())) if len(values) else "")
        lines.append([arm, str(runs.seed.nunique()), *cells])
    return markdown(head, lines)


def learning(learned: pd.DataFrame) -> str:
    """Continual-learning measures of every arm and variant."""
    columns = ["target", "final_average", "backward_transfer", "forgetting", "worst"]
    lines = []
    for (arm, variant), runs in learned.groupby(["arm", "variant"], sort=False):
        cells = [_with_interval(estimate(runs[column].to_numpy())) for column in columns]
        lines.append([arm, variant, str(len(runs)), *cells])
    return markdown(["arm", "variant", "n", *columns], lines)


def differences(learned: pd.DataFrame, against: str, engine: str) -> str:
    """Differences in target and retention, with the bootstrap and the t interval; bold where both exclude 0."""
    found = {column: paired(learned, column, against, engine) for column in COMPARED}
    lines = []
    for arm, variant in found["target"]:
        cells = [_difference(found[column][arm, variant]) for column in COMPARED]
        lines.append([arm, variant, str(found["target"][arm, variant].n), *cells])
    return markdown(["arm", "variant", "pairs", *COMPARED], lines) if lines else ""


def comparison(rows: pd.DataFrame, measures: Measures, engine: str, ours: str, theirs: str) -> str:
    """Differences between two runs' names, each an arm and what differs from it: `recap scheduler.temperature=0.2`.

    Raises:
        ValueError: no run of that name, or none of the same base and seed.
    """
    learned = continual_learning(at_end(validation(rows)), measures)
    learned = learned[learned.engine == engine]
    names = [_named(learned, text) for text in (ours, theirs)]
    lines = []
    for decoding in DECODINGS:
        chosen = learned[learned.decoding == decoding]
        found = [difference(chosen, column, *names) for column in COMPARED]
        if found[0].n:
            lines.append([decoding, str(found[0].n), *map(_difference, found)])
    if not lines:
        raise ValueError(f"{ours!r} and {theirs!r} have no base and seed in common")
    return markdown([f"{ours} against {theirs}", "pairs", *COMPARED], lines)


def _named(learned: pd.DataFrame, text: str) -> tuple[str, str]:
    arm, _, variant = text.partition(" ")
    if learned[(learned.arm == arm) & (learned.variant == variant)].empty:
        known = sorted({f"{arm} {variant}".strip() for arm, variant in zip(learned.arm, learned.variant, strict=True)})
        raise ValueError(f"no run is called {text!r}; there are: {'; '.join(known)}")
    return arm, variant


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def _series(ends: pd.DataFrame, measures: Measures) -> list[tuple[str, str]]:
    """Every data source with its main metric first."""
    there = set(ends[["data_source", "metric"]].itertuples(index=False, name=None))
    found = []
    for source, main in measures.main.items():
        others = sorted(metric for name, metric in there if name == source and metric != main)
        found += [(source, metric) for metric in (main, *others) if (source, metric) in there]
    return found


def _in_order(ends: pd.DataFrame) -> list[str]:
    there = set(ends.arm)
    return [arm for arm in ARMS if arm in there]


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(value: Estimate) -> str:
    if value.n < 3:
        return _points(value.mean)
    return f"{_points(value.mean)} [{_points(value.low)}, {_points(value.high)}]"


def _difference(value: Estimate) -> str:
    if value.n < 3:
        return f"{100 * value.mean:+.1f}"
    text = (
        f"{100 * value.mean:+.1f} [{100 * value.low:+.1f}, {100 * value.high:+.1f}] "
        f"t [{100 * value.t_low:+.1f}, {100 * value.t_high:+.1f}]"
    )
    return f"**{text}**" if value.excludes_zero else text
