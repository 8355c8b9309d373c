"""Curves of a run in one picture."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recap_verl.report.load import Metrics
from recap_verl.report.table import WEIGHT
from recap_verl.report.validation import score_names

REWARD = "recap/reward/"
LOSS = "recap/loss/"


def curves(metrics: Metrics) -> dict[str, dict[str, str]]:
    """Panel title -> label of a curve -> metric name; a panel without curves (a run without RECAP) is left out."""
    panels = {
        "reward in training": {name.removeprefix(REWARD): name for name in metrics.names(REWARD)},
        "next-token loss": {name.removeprefix(LOSS): name for name in metrics.names(LOSS)},
        "weight": {name.removeprefix(WEIGHT): name for name in metrics.names(WEIGHT)},
        "validation score": score_names(metrics),
    }
    return {title: named for title, named in panels.items() if named}


def write_plots(metrics: Metrics, path: Path) -> None:
    """Write one panel per kind of curve to `path` (PNG), without a display and without pyplot's global state.

    A label has one colour in all panels, and legends stand below them, where they hide no curve.
    """
    panels = curves(metrics)
    labels = list(dict.fromkeys(label for named in panels.values() for label in named))
    colour_of = {label: f"C{number}" for number, label in enumerate(labels)}
    figure = Figure(figsize=(5.5 * len(panels), 4.2 + 0.2 * max(map(len, panels.values()))), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, named) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, name in named.items():
            axes.plot(*metrics.series(name), marker="o", markersize=3, label=label, color=colour_of[label])
        _label(axes, title)
    figure.savefig(path, dpi=120)


def _label(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.13))
