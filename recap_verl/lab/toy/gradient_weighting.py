"""Weights from the tasks' gradients: one backward pass per task and step, and for two tasks a solution in closed form.

Each is a function of a step's losses (runs, 2) and gradients (runs, 2, d) with weights (runs, 2) as its value: the
descent direction is sum_k weight_k gradient_k.
"""

import numpy as np

# Keeps a division by a gradient that has vanished finite.
TINY = 1e-12


def _products(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|a|², |b|² and <a, b> of the two gradients, (runs,) each."""
    a, b = gradients[:, 0], gradients[:, 1]
    return (a * a).sum(axis=1), (b * b).sum(axis=1), (a * b).sum(axis=1)


def _pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1)


def pcgrad(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The sum of both gradients, each without its part against the other (PCGrad, arXiv 2001.06782)."""
    aa, bb, ab = _products(gradients)
    conflict = np.minimum(ab, 0)
    return _pair(1 - conflict / np.maximum(aa, TINY), 1 - conflict / np.maximum(bb, TINY))


def mgda(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The convex combination of least norm (MGDA, Désidéri 2012; arXiv 1810.04650, equation 6)."""
    aa, bb, ab = _products(gradients)
    first = np.clip((bb - ab) / np.maximum(aa + bb - 2 * ab, TINY), 0, 1)
    return _pair(first, 1 - first)


def cagrad(losses: np.ndarray, gradients: np.ndarray, c: float = 0.5) -> np.ndarray:
    """The mean gradient g0 moved by c |g0| along g_w (CAGrad, arXiv 2110.14048, algorithm 1).

    w in [0, 1] minimises <g_w, g0> + r |g_w| where g_w = w a + (1 - w) b and r = c |g0|. As a function of w this is a
    line of slope m plus r sqrt(A (w - w0)² + D), and convex.
    """
    aa, bb, ab = _products(gradients)
    radius = c * np.sqrt(np.maximum(aa + bb + 2 * ab, 0)) / 2
    slope = (aa - bb) / 2
    curvature = np.maximum(aa + bb - 2 * ab, TINY)
    centre = (bb - ab) / curvature
    depth = np.maximum(bb - curvature * centre**2, 0)
    interior = radius**2 * curvature - slope**2
    offset = -slope * np.sqrt(depth / (curvature * np.maximum(interior, TINY)))
    lower_end = np.where(slope > 0, 0.0, 1.0)
    w = np.where(interior > 0, np.clip(centre + offset, 0, 1), lower_end)
    norm = np.sqrt(np.maximum(w**2 * aa + (1 - w) ** 2 * bb + 2 * w * (1 - w) * ab, TINY))
    return 0.5 + (radius / norm)[:, None] * _pair(w, 1 - w)


def nash_mtl(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Weights with G w = 1 / w for the Gram matrix G (Nash-MTL, arXiv 2202.01017, equation 3).

    Two equations in two unknowns: w_k = 1 / (|g_k| sqrt(1 + cos)).
    """
    aa, bb, ab = _products(gradients)
    norms = np.sqrt(np.maximum(_pair(aa, bb), TINY))
    cosine = ab / norms.prod(axis=1)
    return 1 / (norms * np.sqrt(np.maximum(1 + cosine, TINY))[:, None])
