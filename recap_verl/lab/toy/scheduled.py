"""RecapScheduler as a weighting of the toy problem's two losses."""

import numpy as np

from recap_verl.scheduler import RecapScheduler

# K softmax(s / T), restricted to some objectives and scaled back to mean 1, is the softmax over those objectives alone.
# So one scheduler that knows the losses of every run gives each run the weights of a scheduler of its own, in a
# fraction of the time. The sum of two softmaxes has no such property.
ONE_SOFTMAX = ("recap", "paper", "dwa")


class Scheduled:
    """Weights of a `RecapScheduler` per run; `options` are the scheduler's own."""

    def __init__(self, runs: int, preset: str, **options):
        names = [f"{run:06d}/L{task}" for run in range(runs) for task in (1, 2)]
        groups = [names] if preset in ONE_SOFTMAX else [names[i : i + 2] for i in range(0, len(names), 2)]
        self._schedulers = [(g, RecapScheduler(dict.fromkeys(g, "loss"), preset=preset, **options)) for g in groups]

    def __call__(self, losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Observe the losses (runs, 2) of a step; its weights (runs, 2), of mean 1 in each run."""
        observed = iter(losses.ravel().tolist())
        weights = []
        for names, scheduler in self._schedulers:
            scheduler.observe({name: next(observed) for name in names})
            weights += scheduler.weights.values()
        weights = np.reshape(weights, (-1, 2))
        return weights / weights.mean(axis=1, keepdims=True)
