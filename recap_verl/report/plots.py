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


def curves(metrics: Metrics) -> dict[str, dict[str, str]]:
    """Panel title -> label of a curve -> metric name; a panel without curves (a run without RECAP) is left out."""
    panels = {
        "reward in training": {name.removeprefix(REWARD): name for name in metrics.names(REWARD)},
        "weight": {name.removeprefix(WEIGHT): name for name in metrics.names(WEIGHT)},
        "validation score": score_names(metrics),
    }
    return {title: named for title, named in panels.items() if named}


def write_plots(metrics: Metrics, path: Path) -> None:
    """Write one panel per kind of curve to `path` (PNG), without a display and without pyplot's global state."""
    panels = curves(metrics)
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, named) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _draw(axes, title, {label: metrics.series(name) for label, name in named.items()})
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, title: str, series: dict[str, tuple[list[int], list[float]]]) -> None:
    for label, (steps, values) in series.items():
        axes.plot(steps, values, marker="o", markersize=3, label=label)
    axes.set(title=title, xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
