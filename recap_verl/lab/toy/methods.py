"""Every weighting that the toy compares, by name."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from recap_verl.lab.toy.gradient_weighting import cagrad, mgda, nash_mtl, pcgrad
from recap_verl.lab.toy.loss_weighting import Famo, RandomWeighting, Uncertainty, scale_invariant, uniform
from recap_verl.lab.toy.runs import Runs
from recap_verl.lab.toy.scheduled import Scheduled

Weighting = Callable[[np.ndarray, np.ndarray], np.ndarray]

# The paper's settings and what its appendix varies, one at a time.
DEFAULTS = {"alpha": 0.5, "temperature": 5.0, "window": 10}
ABLATIONS = {
    "alpha": (0.0, 0.25, 0.5, 0.75, 1.0),
    "temperature": (0.1, 0.2, 0.5, 1.0, 5.0, 10.0, 30.0),
    "window": (5, 10, 20, 50),
}


@dataclass(frozen=True)
class Method:
    """One way to weight the two losses.

    build: runs -> (losses, gradients) -> weights.
    backward_passes: a step, for K tasks: "1" or "K".
    settings: of the scheduler, empty where there is none.
    """

    build: Callable[[Runs], Weighting]
    backward_passes: str = "1"
    settings: dict = field(default_factory=dict)


def _scheduled(preset: str, **settings) -> Method:
    settings = {"preset": preset, **DEFAULTS, **settings}
    return Method(lambda runs: Scheduled(runs.count, **settings), settings=settings)


def _from_gradients(weighting: Weighting) -> Method:
    return Method(lambda runs: weighting, backward_passes="K")


COMPARED = {
    "recap": _scheduled("recap"),
    "paper": _scheduled("paper"),
    "release": _scheduled("release"),
    "dwa": _scheduled("dwa"),
    # The temperature of its own paper, arXiv 1803.10704.
    "dwa-T2": _scheduled("dwa", temperature=2.0),
    "uniform": Method(lambda runs: uniform),
    "uncertainty": Method(Uncertainty),
    "random": Method(RandomWeighting),
    "scale-invariant": Method(lambda runs: scale_invariant),
    "famo": Method(Famo),
    "pcgrad": _from_gradients(pcgrad),
    "cagrad": _from_gradients(cagrad),
    "mgda": _from_gradients(mgda),
    "nash-mtl": _from_gradients(nash_mtl),
}


def variant(setting: str, value: float) -> str:
    """Name of preset recap with one setting changed; plain "recap" where it is the default."""
    return "recap" if value == DEFAULTS[setting] else f"recap-{setting}-{value:g}"


VARIANTS = {
    variant(setting, value): _scheduled("recap", **{setting: value})
    for setting, values in ABLATIONS.items()
    for value in values
    if value != DEFAULTS[setting]
}

METHODS = COMPARED | VARIANTS


def parse_methods(names: str) -> list[str]:
    """Names from a comma-separated list, or all of them from an empty one; an unknown name raises a ValueError."""
    chosen = [name.strip() for name in names.split(",") if name.strip()] or list(METHODS)
    for name in chosen:
        if name not in METHODS:
            raise ValueError(f"--methods: {name!r} is not a method; methods are {', '.join(METHODS)}")
    return list(dict.fromkeys(chosen))
