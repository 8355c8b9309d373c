"""The Pareto front of the toy problem on a grid, and distances to it in the loss plane."""

import numpy as np

from recap_verl.lab.toy.problem import Problem

# As printed, both losses fall for ever as x2 falls, by less and less: at x2 = -30 float64 sees no more of it.
X1 = np.linspace(-10, 10, 5001)
X2 = np.concatenate([np.linspace(-30, -10, 21), np.linspace(-9.98, 10, 1000)])
SPACING = 0.01
CHUNK = 1000


def nondominated(points: np.ndarray) -> np.ndarray:
    """Those of the points (n, 2) for which no other is as good in both losses and better in one, by rising L1."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(points[:, 1])[:-1]])
    return points[points[:, 1] < best_before]


def front(problem: Problem) -> np.ndarray:
    """(L1, L2) of the grid's nondominated points, about `SPACING` apart; (n, 2) by rising L1."""
    rows = (nondominated(problem.losses(np.stack([X1, np.full_like(X1, x2)], axis=1))) for x2 in X2)
    points = nondominated(np.concatenate(list(rows)))
    length = np.concatenate([[0.0], np.cumsum(_gaps(points))])
    return points[np.unique(np.searchsorted(length, np.arange(0, length[-1], SPACING)))]


def _gaps(points: np.ndarray) -> np.ndarray:
    return np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))


def distance(points: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Euclidean distance of (L1, L2) points, (..., 2), to the nearest point of the front; (...)."""
    flat = points.reshape(-1, 2)
    nearest = np.empty(len(flat))
    for begin in range(0, len(flat), CHUNK):
        part = flat[begin : begin + CHUNK]
        squares = (part[:, None, 0] - front[:, 0]) ** 2 + (part[:, None, 1] - front[:, 1]) ** 2
        nearest[begin : begin + CHUNK] = np.sqrt(squares.min(axis=1))
    return nearest.reshape(points.shape[:-1])


def resolution(front: np.ndarray) -> float:
    """Half the largest gap between neighbours: a point on the front is seen this far off it at most."""
    return float(_gaps(front).max() / 2)
