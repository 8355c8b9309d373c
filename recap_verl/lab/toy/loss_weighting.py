"""Weights from loss values: one backward pass a step, of the weighted sum.

Each is a function of a step's observed losses (runs, 2) and gradients (runs, 2, 2) with weights (runs, 2) as its value.
"""

import numpy as np

from recap_verl.lab.toy.adam import Adam
from recap_verl.lab.toy.runs import WEIGHT_STREAM, Runs

# h >= -20, so a loss without noise is at least 1 above this bound, which FAMO's authors set for this problem.
LOWER_BOUND = -21.0


def positive(losses: np.ndarray) -> np.ndarray:
    """Losses above their bound, for methods that divide by a loss or take its logarithm; noise alone falls below 1."""
    return np.maximum(losses - LOWER_BOUND, 1.0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def uniform(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """1 for every loss."""
    return np.ones_like(losses)


def scale_invariant(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The gradient of sum_k log L_k (the scale-invariant baseline of Nash-MTL, arXiv 2202.01017)."""
    return 1 / positive(losses)


class RandomWeighting:
    """Softmax of standard normal draws, new at every step (RLW, arXiv 2111.10603)."""

    def __init__(self, runs: Runs):
        self._generators = runs.generators(WEIGHT_STREAM)

    def __call__(self, losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        shape = len(losses) // len(self._generators), losses.shape[1]
        return 2 * _softmax(np.concatenate([generator.standard_normal(shape) for generator in self._generators]))


class Uncertainty:
    """Weights exp(-s) / 2, with s learned on sum_k exp(-s_k) L_k / 2 + s_k / 2 (Kendall et al., arXiv 1705.07115)."""

    def __init__(self, runs: Runs, learning_rate: float = 1e-2):
        self._log_variance = Adam(np.zeros((runs.count, 2)), learning_rate)

    def __call__(self, losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        weights = np.exp(-self._log_variance.parameters) / 2
        self._log_variance.step(1 / 2 - weights * positive(losses))
        return weights


class Famo:
    """Logits that follow which loss fell least, on a logarithmic scale (FAMO, arXiv 2306.03792).

    As in the authors' own toy problem: learning rate 0.025, no decay, and a loss is compared with the same loss at the
    next step.
    """

    def __init__(self, runs: Runs, learning_rate: float = 0.025):
        self._logits = Adam(np.zeros((runs.count, 2)), learning_rate)
        self._before = None

    def __call__(self, losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        losses = positive(losses)
        if self._before is not None:
            fall = np.log(self._before) - np.log(losses)
            share = _softmax(self._logits.parameters)
            self._logits.step(share * (fall - (share * fall).sum(axis=1, keepdims=True)))
        self._before = losses
        weights = _softmax(self._logits.parameters) / losses
        return weights / weights.sum(axis=1, keepdims=True)
