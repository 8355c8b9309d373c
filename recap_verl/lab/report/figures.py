"""The figures of the report."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from recap_verl.lab.arms import ARMS
from recap_verl.lab.statistics import Measures, at_end, continual_learning, paired, validation

# Okabe and Ito's colours, told apart by everyone; arms beyond them are grey.
COLOURS = {
    "reasoning_only": "#D55E00",
    "uniform": "#0072B2",
    "recap": "#009E73",
    "self_replay": "#CC79A7",
    "recap_self_replay": "#E69F00",
    "lwf": "#56B4E9",
}
OTHER = "#999999"


def write_figures(rows: pd.DataFrame, measures: Measures, out: Path, study: str, engine: str) -> list[Path]:
    """All figures of an engine that the table has data for, as PNG files."""
    own = rows[(rows.engine == engine) & (rows.variant == "")]
    if own.empty:
        return []
    written = []
    for name, draw in _DRAWN.items():
        figure = draw(own, measures, engine)
        if figure is None:
            continue
        path = out / f"{study}-{engine}-{name}.png"
        figure.savefig(path, dpi=110)
        plt.close(figure)
        written.append(path)
    return written


def forest(rows: pd.DataFrame, measures: Measures, engine: str):
    """Target and retention of every arm as differences to uniform, paired by seed: the study in one picture."""
    learned = continual_learning(at_end(validation(rows)), measures)
    learned = learned[learned.decoding == "greedy"]
    columns = {"target": "target accuracy", "final_average": "all other skills, mean", "worst": "worst other skill"}
    found = {column: paired(learned, column, "uniform", engine) for column in columns}
    arms = [arm for arm in ARMS if (arm, "") in found["target"]]
    if not arms:
        return None
    figure, axes = plt.subplots(1, 3, figsize=(10, 0.34 * len(arms) + 1.5), sharey=True, layout="constrained")
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        for position, arm in enumerate(reversed(arms)):
            value = found[column][arm, ""]
            colour = COLOURS.get(arm, OTHER)
            # The interval of two runs is as wide as all others together.
            if value.n > 2:
                axis.plot([100 * value.t_low, 100 * value.t_high], [position] * 2, color=colour, linewidth=2)
            axis.plot(100 * value.mean, position, "o", color=colour, markersize=5)
        axis.set(title=label, xlabel="points against uniform", yticks=range(len(arms)), yticklabels=arms[::-1])
        axis.grid(axis="x", alpha=0.3)
    pairs = max(value.n for value in found["target"].values())
    figure.suptitle(f"{engine} engine, greedy; 95 % t intervals over up to {pairs} pairs of runs", fontsize=10)
    return figure


def probes(rows: pd.DataFrame, measures: Measures, engine: str):
    """Scores over steps (the paper's figure 2)."""
    scores = validation(rows)
    scores = scores[(scores.decoding == "greedy") & (scores.metric == scores.data_source.map(measures.main))]
    return _panels(scores, list(measures.main), "data_source", "score, greedy")


def rewards(rows: pd.DataFrame, measures: Measures, engine: str):
    """Training rewards over steps (figures 5 and 10)."""
    own = rows[(rows.decoding == "train") & rows.metric.str.startswith(("reward/", "loss/"))]
    own = own.assign(panel=own.data_source + " " + own.metric)
    return _panels(own, sorted(own.panel.unique()), "panel", "", smooth=7)


def weights(rows: pd.DataFrame, measures: Measures, engine: str):
    """Weights over steps (figure 11)."""
    return _scheduler(rows, "weight/")


def signals(rows: pd.DataFrame, measures: Measures, engine: str):
    """Convergence and instability over steps (figure 4), of the arm recap."""
    own = rows[(rows.arm == "recap") & rows.metric.str.startswith(("convergence/", "instability/"))]
    return _panels(own, sorted(own.metric.unique()), "metric", "")


def length(rows: pd.DataFrame, measures: Measures, engine: str):
    """Tokens of a response over steps (figure 7)."""
    own = rows[(rows.decoding == "train") & (rows.metric == "response_length")]
    own = own.assign(panel=own.data_source.replace("", "all"))
    return _panels(own, sorted(own.panel.unique()), "panel", "tokens", smooth=7)


def _scheduler(rows: pd.DataFrame, prefix: str):
    own = rows[rows.metric.str.startswith(prefix) & rows.arm.isin(["recap", "recap_paper", "recap_release", "dwa"])]
    return _panels(own, sorted(own.metric.unique()), "metric", "")


def _panels(rows: pd.DataFrame, panels: list[str], column: str, label: str, smooth: int = 1):
    """One small chart for each value of `column`, a line for each arm: mean over runs, band of one standard error."""
    panels = [panel for panel in panels if (rows[column] == panel).any()]
    if not panels:
        return None
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(3.6 * across, 2.5 * down + 0.8), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        own = rows[rows[column] == panel]
        # Arms with a colour of their own are drawn last, in front.
        for arm in sorted(set(own.arm), key=lambda name: (name in COLOURS, name)):
            by_step = own[own.arm == arm].groupby("step").value
            mean, error = by_step.mean().rolling(smooth, 1).mean(), by_step.sem().fillna(0).rolling(smooth, 1).mean()
            colour = COLOURS.get(arm, OTHER)
            axis.plot(mean.index, mean, color=colour, linewidth=1.6 if arm in COLOURS else 0.8, label=arm)
            axis.fill_between(mean.index, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        axis.set_title(panel, fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(label, fontsize=9)
    handles = {}
    for axis in axes.flat[: len(panels)]:
        handles.update(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return figure


_DRAWN = {
    "differences": forest,
    "scores": probes,
    "rewards": rewards,
    "weights": weights,
    "signals": signals,
    "length": length,
}
