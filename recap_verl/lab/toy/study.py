"""Methods x seeds x starts: where each run ends."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recap_verl.lab.toy import pareto
from recap_verl.lab.toy.descent import Trajectories, descend
from recap_verl.lab.toy.methods import METHODS
from recap_verl.lab.toy.problem import PROBLEMS
from recap_verl.lab.toy.runs import Runs

# Losses run from -18 to 10 here; 0.1 is five times the distance at which runs settle next to the front.
ON_THE_FRONT = 0.1
LAST_PART = 0.1


@dataclass(frozen=True)
class Outcome:
    """One method's runs. table: a row per run; trajectories: of all of them."""

    method: str
    table: pd.DataFrame
    trajectories: Trajectories


def run_methods(problem: str, methods: list[str], runs: Runs, steps: int, front: np.ndarray, workers: int):
    """An `Outcome` per method, as they finish the earlier in the order of `methods` first."""
    # One scheduler per run makes this preset the slowest by far: it starts first, and the others run beside it.
    order = sorted(methods, key=lambda name: METHODS[name].settings.get("preset") != "release")
    # Spawned: the caller may hold threads, which a fork would not survive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(methods)), mp_context=context) as pool:
        futures = {name: pool.submit(run_method, problem, name, runs, steps, front) for name in order}
        yield from (futures[name].result() for name in methods)


def run_method(problem: str, method: str, runs: Runs, steps: int, front: np.ndarray) -> Outcome:
    """All runs of one method; `front` as of `pareto.front`."""
    trajectories = descend(PROBLEMS[problem], METHODS[method].build(runs), runs, steps)
    return Outcome(method, _table(problem, method, runs, trajectories, front), trajectories)


def _table(problem: str, method: str, runs: Runs, trajectories: Trajectories, front: np.ndarray) -> pd.DataFrame:
    distance = pareto.distance(trajectories.losses, front)
    last = trajectories.steps >= trajectories.steps[-1] * (1 - LAST_PART)
    movement = np.linalg.norm(trajectories.losses[last] - trajectories.losses[-1], axis=2).max(axis=0)
    reached = distance <= ON_THE_FRONT
    first = np.where(reached.any(axis=0), trajectories.steps[reached.argmax(axis=0)], np.nan)
    seed, start = np.divmod(np.arange(runs.count), len(runs.starts))
    (x1, x2), (loss1, loss2) = trajectories.x[-1].T, trajectories.losses[-1].T
    settings = {key: METHODS[method].settings.get(key) for key in ("preset", "alpha", "temperature", "window")}
    columns = {"problem": problem, "method": method, **settings, "seed": seed, "start": start + 1}
    columns |= {"x1": x1, "x2": x2, "L1": loss1, "L2": loss2, "distance": distance[-1]}
    return pd.DataFrame(columns | {"movement": movement, "first_step_on_front": first})
