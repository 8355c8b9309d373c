"""Two losses of a point in the plane that pull apart, with their gradients.

The problem is that of CAGrad (arXiv 2110.14048), with one noisy observation in RECAP (arXiv 2510.21978):

    L1 = f1 g1 + f2 h1        f1 = max(tanh(x2 / 2), 0)        h1 = ((-x1 + 7)² + 0.1 (-y - 8)²) / 10 - 20
    L2 = f1 g2 + f2 h2        f2 = max(tanh(-x2 / 2), 0)       h2 = ((-x1 - 7)² + 0.1 (-y - 8)²) / 10 - 20

    g1 = log(max(|0.5 (-x1 - 7) - tanh(-x2)|, 5e-6)) + 6
    g2 = log(max(|0.5 (-x1 + 3) ± tanh(-x2) + 2|, 5e-6)) + 6

The papers print a minus in g2 and y = x1; the code that they come from has a plus and y = x2.
"""

from dataclasses import dataclass

import numpy as np

STARTS = np.array([[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]])
# Standard deviation of what is added to L1 when it is observed.
NOISE = 3.0
SMALLEST_DISTANCE = 5e-6


@dataclass(frozen=True)
class Problem:
    """One reading of the formulas. sign: of tanh in g2; coordinate: index in x of y."""

    sign: float
    coordinate: int

    def losses(self, x: np.ndarray) -> np.ndarray:
        """(L1, L2) without noise at the points x; both are (n, 2)."""
        return self.losses_and_gradients(x)[0]

    def losses_and_gradients(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses (n, 2) and dL_k / dx_d as (n, k, d).

        A derivative at a kink is torch.clamp's, 1: with 0 in its place, nothing would ever leave the start (0, 0).
        """
        x1, x2 = x.T
        above, below = np.tanh(x2 / 2), np.tanh(-x2 / 2)
        slope = (1 - above**2) / 2
        f1, f2 = np.maximum(above, 0), np.maximum(below, 0)
        df1, df2 = np.where(above >= 0, slope, 0), np.where(below >= 0, -slope, 0)

        tanh = np.tanh(-x2)
        dtanh = tanh**2 - 1
        g1, dg1 = _log_distance((-x1 - 7) / 2 - tanh)
        g2, dg2 = _log_distance((-x1 + 3) / 2 + self.sign * tanh + 2)
        h1, dh1 = self._parabola(x, 7)
        h2, dh2 = self._parabola(x, -7)

        losses = np.stack([f1 * g1 + f2 * h1, f1 * g2 + f2 * h2], axis=1)
        gradients = np.empty((len(x), 2, 2))
        gradients[:, 0, 0] = -f1 * dg1 / 2 + f2 * dh1[0]
        gradients[:, 0, 1] = df1 * g1 - f1 * dg1 * dtanh + df2 * h1 + f2 * dh1[1]
        gradients[:, 1, 0] = -f1 * dg2 / 2 + f2 * dh2[0]
        gradients[:, 1, 1] = df1 * g2 + f1 * dg2 * self.sign * dtanh + df2 * h2 + f2 * dh2[1]
        return losses, gradients

    def _parabola(self, x: np.ndarray, centre: float) -> tuple[np.ndarray, np.ndarray]:
        """h (n,) and its derivatives (2, n)."""
        across, along = x[:, 0] - centre, x[:, self.coordinate] + 8
        derivatives = np.zeros((2, len(x)))
        derivatives[0] += across / 5
        derivatives[self.coordinate] += along / 50
        return (across**2 + 0.1 * along**2) / 10 - 20, derivatives


def _log_distance(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """g = log(max(|u|, 5e-6)) + 6 and dg/du, both (n,)."""
    far = np.abs(u) >= SMALLEST_DISTANCE
    derivative = np.divide(1.0, u, out=np.zeros_like(u), where=far)
    return np.log(np.maximum(np.abs(u), SMALLEST_DISTANCE)) + 6, derivative


PROBLEMS = {"printed": Problem(sign=-1.0, coordinate=0), "coded": Problem(sign=1.0, coordinate=1)}
