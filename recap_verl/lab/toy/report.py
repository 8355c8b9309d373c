"""The tables of a comparison, in markdown."""

import pandas as pd

from recap_verl.lab.toy.methods import ABLATIONS, COMPARED, DEFAULTS, METHODS, variant
from recap_verl.lab.toy.study import ON_THE_FRONT

# How far, in the loss plane, the five ends of a seed may lie from their median to count as one point.
ONE_POINT = 0.5


def one_point_share(runs: pd.DataFrame) -> pd.Series:
    """Method -> share of the seeds whose runs all end within `ONE_POINT` of their median, start by start alike."""
    ends = runs[["L1", "L2"]]
    centre = ends.groupby([runs["method"], runs["seed"]]).transform("median")
    apart = ((ends - centre) ** 2).sum(axis=1) ** 0.5
    return (apart.groupby([runs["method"], runs["seed"]]).max() <= ONE_POINT).groupby(level="method").mean()


def summary_table(runs: pd.DataFrame, microseconds: dict[str, float]) -> str:
    """Method, cost, share of runs on the front (all, and from each start), largest distance, seeds with one end."""
    on_front = (runs["distance"] <= ON_THE_FRONT).groupby([runs["method"], runs["start"]]).mean().unstack()
    one_point = one_point_share(runs)
    worst = runs.groupby("method")["distance"].max()
    starts = [f"start {start}" for start in on_front.columns]
    header = ["method", "backward passes", "µs a step", "on the front", *starts, "farthest off", "one point"]
    rows = [
        [
            name,
            METHODS[name].backward_passes,
            f"{microseconds[name]:.0f}",
            _percent(on_front.loc[name].mean()),
            *map(_percent, on_front.loc[name]),
            f"{worst[name]:.2f}",
            _percent(one_point[name]),
        ]
        for name in _present(COMPARED, runs)
    ]
    return _markdown(header, rows)


def ends_table(runs: pd.DataFrame) -> str:
    """Median end of the runs from each start, with the 5 % and 95 % quantiles of L1 in brackets."""
    ends = runs.groupby(["method", "start"])[["L1", "L2"]].quantile([0.05, 0.5, 0.95]).unstack()
    header = ["method", *(f"start {start}" for start in sorted(runs["start"].unique()))]
    rows = [[name, *map(_end, ends.loc[name].to_dict("records"))] for name in _present(COMPARED, runs)]
    return _markdown(header, rows)


def _end(quantiles: dict) -> str:
    low, high = quantiles["L1", 0.05], quantiles["L1", 0.95]
    return f"{quantiles['L1', 0.5]:.1f}, {quantiles['L2', 0.5]:.1f} [{low:.1f}, {high:.1f}]"


def ablation_table(runs: pd.DataFrame, setting: str) -> str:
    """One setting of preset recap varied; empty where fewer than two of its values were run."""
    names = {variant(setting, value): value for value in ABLATIONS[setting]}
    present = _present(names, runs)
    if len(present) < 2:
        return ""
    by_method = runs.groupby("method")
    on_front = (runs["distance"] <= ON_THE_FRONT).groupby(runs["method"]).mean()
    one_point, median = one_point_share(runs), by_method[["L1", "L2", "movement", "first_step_on_front"]].median()
    header = [setting, "on the front", "one point", "median end", "movement", "first step on the front"]
    rows = [
        [
            f"{names[name]:g}" + (" (default)" if names[name] == DEFAULTS[setting] else ""),
            _percent(on_front[name]),
            _percent(one_point[name]),
            f"{median.L1[name]:.1f}, {median.L2[name]:.1f}",
            f"{median.movement[name]:.2f}",
            _step(median.first_step_on_front[name]),
        ]
        for name in present
    ]
    return _markdown(header, rows)


def report(runs: pd.DataFrame, microseconds: dict[str, float], facts: str) -> str:
    """Everything in one text. runs: a row per run as in `study.Outcome`; facts: a line on how it was made."""
    sections = [
        "# The two-task toy problem",
        facts,
        f"On the front: within {ON_THE_FRONT} of it in the loss plane. One point: share of the seeds whose five runs "
        f"all end within {ONE_POINT} of their median. µs: what the weighting of one run takes, without backward "
        "passes.",
        *_section("Methods", summary_table(runs, microseconds)),
        *_section("Ends: median L1, L2 [5 %, 95 % of L1]", ends_table(runs)),
    ]
    for setting in ABLATIONS:
        sections += _section(f"Preset recap, {setting}", ablation_table(runs, setting))
    return "\n\n".join(sections) + "\n"


def _section(title: str, table: str) -> list[str]:
    return [f"## {title}", table] if table else []


def _present(names, runs: pd.DataFrame) -> list[str]:
    found = set(runs["method"])
    return [name for name in names if name in found]


def _step(step: float) -> str:
    return "never" if pd.isna(step) else f"{step:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
