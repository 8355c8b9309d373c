"""FollowingSampler: a ReplaySampler whose shares can change from one batch to the next."""

import math
from collections.abc import Mapping

import numpy as np

from recap_verl.replay.mixture import Mixture
from recap_verl.replay.sampler import ReplaySampler
from recap_verl.replay.state import check_counts, check_follows, check_keys

# Shares are whole multiples of 1 / UNIT, so that what is owed is counted exactly.
UNIT = 2**20


def changing_quota(shares: np.ndarray, owed: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """One batch of whole rows whose running counts follow shares that are other ones in every batch.

    Whole rows that are due, then one each to the largest remainders; what is left is carried on. `next_quota` is
    exact to the row for constant shares, and has no answer where a domain that is ahead loses its share.

    Args:
        shares: ``(domains,)`` int64, at least 0, their sum is ``UNIT``.
        owed: ``(domains,)`` int64 rows owed before this batch, in units of ``1 / UNIT`` rows; sums to 0.
        batch_size: rows in the batch.

    Returns:
        ``(quota, owed)``, each ``(domains,)`` int64: the rows to take (summing to ``batch_size``), and what is owed
        after them.
    """
    due = owed + batch_size * shares
    quota = np.maximum(due // UNIT, 0)
    missing = batch_size - int(quota.sum())
    if missing > 0:
        quota[np.argsort(quota * UNIT - due, kind="stable")[:missing]] += 1
    for _ in range(-missing):
        # Some domain is so far ahead that the others' whole rows are more than there are.
        least_due = np.where(quota > 0, due - quota * UNIT, np.iinfo(np.int64).max).argmin()
        quota[least_due] -= 1
    return quota, due - quota * UNIT


class FollowingSampler(ReplaySampler):
    """A `ReplaySampler` that goes through its domains' rows in the same way, by shares that `follow` changes.

    It takes the arguments of `ReplaySampler`; epochs never end early (``exhaust="reshuffle"``). The shares in force
    and what is owed are part of its state, so that a run resumes to the same next rows.
    """

    _follows = True

    def __init__(self, domains, batch_size: int, mixture: Mixture = "uniform", seed: int = 0):
        super().__init__(domains, batch_size, mixture, seed)
        self._mixture = self._weights / self._weights.sum()
        self._weights = _whole(self._mixture)

    def follow(self, factors: Mapping[str, float]) -> None:
        """From the next batch on every share is the mixture's times its domain's factor, scaled to sum 1.

        Args:
            factors: domain -> a number >= 0, 1 for a domain left out. One below ``1 / UNIT`` counts as that: a weight
                can underflow, and a domain that is never drawn again can never be seen to need it.

        Raises:
            ValueError: a factor is negative or not finite.
        """
        for name, factor in factors.items():
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"the factor of domain {name!r} must be a finite number >= 0, but is {factor!r}")
        shares = self._mixture * np.array([max(factors.get(name, 1.0), 1 / UNIT) for name in self._names])
        self._weights = _whole(shares / shares.sum())

    def state_dict(self) -> dict:
        under_way = self._weights if self._batch is None else self._batch_shares
        shares = {"shares": under_way.tolist(), "next_shares": self._weights.tolist()}
        return {**super().state_dict(), **shares, "owed": self._owed.tolist()}

    def load_state_dict(self, state: dict) -> None:
        check_follows(state, self._follows)
        check_keys(state, set(self.state_dict()))
        for key in ("shares", "next_shares"):
            check_counts(state, key, len(self._names), UNIT)
        kept = self._weights
        # A batch under way is drawn anew, by the shares that it began with.
        self._weights = np.array(state["shares"], dtype=np.int64)
        try:
            super().load_state_dict(state)
        except (TypeError, ValueError):
            self._weights = kept
            raise
        self._weights = np.array(state["next_shares"], dtype=np.int64)

    def _next_quota(self) -> tuple[np.ndarray, np.ndarray]:
        self._batch_shares = self._weights
        return changing_quota(self._weights, self._owed, self._batch_size)

    def _owed_at(self, state: dict) -> list[int]:
        owed = state["owed"]
        whole = isinstance(owed, list) and all(type(rest) is int for rest in owed)
        if not whole or len(owed) != len(self._names) or sum(owed) != 0:
            raise ValueError(f"sampler state is damaged: owed must hold {len(self._names)} integers with the sum 0.")
        return owed


def _whole(shares: np.ndarray) -> np.ndarray:
    """Shares that sum to 1 as int64 that sum to ``UNIT``; what has a share keeps one."""
    whole = np.where(shares > 0, np.maximum(np.floor(shares * UNIT), 1), 0).astype(np.int64)
    whole[whole.argmax()] += UNIT - whole.sum()
    return whole
