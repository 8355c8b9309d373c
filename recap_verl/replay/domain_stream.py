"""The endless stream of one domain's rows: pass after pass, each in an order of its own."""

import numpy as np

# What a random number generator is for. Keys have a fixed number of words, because numpy pads short ones with zeros
# and [1] would then be [1, 0].
SUBSET, PASS, BATCH = 1, 2, 3


def generator(purpose: int, first: int, second: int, seed: int) -> np.random.Generator:
    """A generator that depends on its key alone, so that no order depends on what was drawn before."""
    return np.random.default_rng([purpose, first, second, seed])


class DomainStream:
    """Rows of one domain, addressed by position in its endless stream.

    Position p is row ``p % size`` of pass ``p // size``. A pass is a permutation of the domain's rows that is a pure
    function of (seed, domain, pass); only the pass last read is kept.

    Args:
        rows: ``(size,)`` row indices of the domain.
        keep: how many of them the stream holds; fewer than ``size`` means a seeded random subset.
        domain: number of the domain.
        seed: seed of the sampler.
    """

    def __init__(self, rows: np.ndarray, keep: int, domain: int, seed: int):
        self._domain = domain
        self._seed = seed
        self._rows = rows
        if keep < len(rows):
            self._rows = np.sort(generator(SUBSET, domain, 0, seed).permutation(rows)[:keep])
        self._pass = -1
        self._order = self._rows

    def read(self, position: int, count: int) -> list[np.ndarray]:
        """The ``count`` rows from ``position`` on, as one piece for each pass they lie in."""
        size = len(self._rows)
        pieces = []
        while count:
            number, offset = divmod(position, size)
            if number != self._pass:
                self._order = generator(PASS, self._domain, number, self._seed).permutation(self._rows)
                self._pass = number
            piece = self._order[offset : offset + count]
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return pieces
