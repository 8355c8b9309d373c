"""The runs that are made side by side: every seed from every start."""

from dataclasses import dataclass, field

import numpy as np

from recap_verl.lab.toy.problem import NOISE, STARTS

# The losses are logarithms of a distance that a step of Adam jumps across: where two of the starts end is decided by
# the last bit of a sum. A thousandth of a unit makes that visible for methods that draw nothing at random.
NUDGE = 1e-3
NOISE_STREAM, NUDGE_STREAM, WEIGHT_STREAM = range(3)


@dataclass(frozen=True)
class Runs:
    """Run number `seed * len(starts) + start`, for `seeds` seeds. starts: (n, 2).

    Seed 0 is at the starts exactly; every other seed is moved away from them by about `NUDGE`. All methods get the
    same nudges and the same noise, and those of one seed do not depend on how many there are.
    """

    seeds: int
    starts: np.ndarray = field(default_factory=STARTS.copy)

    @property
    def count(self) -> int:
        return self.seeds * len(self.starts)

    def generators(self, stream: int) -> list[np.random.Generator]:
        """One generator per seed."""
        return [np.random.default_rng([stream, seed]) for seed in range(self.seeds)]

    def start_points(self) -> np.ndarray:
        """(runs, 2)."""
        nudges = [generator.standard_normal(self.starts.shape) for generator in self.generators(NUDGE_STREAM)]
        return np.concatenate([self.starts + NUDGE * nudge * (seed > 0) for seed, nudge in enumerate(nudges)])

    def noise(self, steps: int) -> np.ndarray:
        """What is added to the observed L1, (steps, runs)."""
        shape = steps, len(self.starts)
        return NOISE * np.concatenate([g.standard_normal(shape) for g in self.generators(NOISE_STREAM)], axis=1)
