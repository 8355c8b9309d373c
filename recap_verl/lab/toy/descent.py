"""Adam on the weighted losses, for all runs side by side."""

from dataclasses import dataclass

import numpy as np

from recap_verl.lab.toy.adam import Adam
from recap_verl.lab.toy.methods import Weighting
from recap_verl.lab.toy.problem import Problem
from recap_verl.lab.toy.runs import Runs

LEARNING_RATE = 1e-2
RECORDED_POINTS = 1000


@dataclass(frozen=True)
class Trajectories:
    """steps: (n,) numbers of the recorded steps, 0 and the last included; x, losses: (n, runs, 2), without noise."""

    steps: np.ndarray
    x: np.ndarray
    losses: np.ndarray


def descend(problem: Problem, weighting: Weighting, runs: Runs, steps: int) -> Trajectories:
    """Minimise (1/2) sum_k weight_k L_k for `steps` steps of Adam at 1e-2.

    The weights see the noisy losses of their own step; no noise enters a gradient.
    """
    noise = runs.noise(steps)
    adam = Adam(runs.start_points(), LEARNING_RATE)
    recorded = np.unique(np.linspace(0, steps, min(steps, RECORDED_POINTS) + 1).round().astype(int))
    x = np.empty((len(recorded), runs.count, 2))
    x[0], filled = adam.parameters, 1
    for step in range(steps):
        losses, gradients = problem.losses_and_gradients(adam.parameters)
        losses[:, 0] += noise[step]
        weights = weighting(losses, gradients)
        adam.step((weights[:, :, None] * gradients).sum(axis=1) / 2)
        if recorded[filled] == step + 1:
            x[filled] = adam.parameters
            filled += 1
    return Trajectories(recorded, x, problem.losses(x.reshape(-1, 2)).reshape(x.shape))
