"""Trajectories and ends of every method in one picture."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recap_verl.lab.toy.problem import Problem
from recap_verl.lab.toy.study import Outcome

COLUMNS = 5
X1, X2 = np.linspace(-10, 10, 201), np.linspace(-13, 10, 231)


def write_figure(problem: Problem, front: np.ndarray, outcomes: list[Outcome], starts: int, path: Path) -> None:
    """Write two panels a method to `path` (PNG): the plane of x with L1 + L2 below, and the loss plane with the front.

    A colour is a start. Seed 0 is drawn with its whole trajectory; every seed is a dot where it ends.
    """
    rows = -(-len(outcomes) // COLUMNS)
    columns = min(COLUMNS, len(outcomes))
    figure = Figure(figsize=(3.3 * columns, 5.6 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_visible(False)
    grid = np.stack(np.meshgrid(X1, X2), axis=-1)
    landscape = problem.losses(grid.reshape(-1, 2)).sum(axis=1).reshape(grid.shape[:2])
    for number, outcome in enumerate(outcomes):
        row, column = divmod(number, COLUMNS)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.contourf(X1, X2, landscape, levels=25, cmap="Greys_r", alpha=0.6)
        _draw(above, outcome.trajectories.x, starts)
        above.set(title=outcome.method, xlabel="x1", ylabel="x2", xlim=(X1[0], X1[-1]), ylim=(X2[0], X2[-1]))
        below.plot(*front.T, color="black", linewidth=1, label="Pareto front")
        _draw(below, outcome.trajectories.losses, starts)
        below.set(xlabel="L1", ylabel="L2", xlim=(-21, 15), ylim=(-21, 15))
        below.grid(alpha=0.3)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=starts + 1, fontsize="small")
    figure.savefig(path, dpi=90)


def _draw(axes: Axes, points: np.ndarray, starts: int) -> None:
    axes.set_visible(True)
    for start in range(starts):
        axes.plot(*points[:, start].T, color=f"C{start}", linewidth=0.8, label=f"start {start + 1}")
        axes.scatter(*points[-1, start::starts].T, color=f"C{start}", s=9, zorder=3)
