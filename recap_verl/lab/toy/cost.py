"""What a method adds to a step of one run."""

import time

import numpy as np

from recap_verl.lab.toy.methods import METHODS
from recap_verl.lab.toy.problem import PROBLEMS, STARTS
from recap_verl.lab.toy.runs import Runs

REPEATS, STEPS = 5, 200


def microseconds(method: str) -> float:
    """Median over `REPEATS` of the mean time of a weighting of ONE run, backward passes not included.

    The windows of a scheduler are full before the clock starts.
    """
    runs = Runs(seeds=1, starts=STARTS[:1])
    weighting = METHODS[method].build(runs)
    points = np.random.default_rng(0).uniform(-9, 9, (STEPS, 1, 2))
    steps = [PROBLEMS["printed"].losses_and_gradients(x) for x in points]
    means = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        for losses, gradients in steps:
            weighting(losses, gradients)
        means.append((time.perf_counter() - begin) / STEPS)
    return float(np.median(means[1:]) * 1e6)
