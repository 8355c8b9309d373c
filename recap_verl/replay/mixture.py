"""Mixtures: which share of every batch each domain gets, and how many of its rows are replayed at all."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

import numpy as np

from recap_verl.replay.quotas import next_quota

# Quotas are exact integers in int64: a total weight of 2**40 leaves room for batches of 2**20 rows.
MAX_TOTAL_WEIGHT = 2**40


@dataclass(frozen=True)
class Coreset:
    """Replay a fixed random subset of the general rows, in proportion to what is kept.

    All rows of the target domains are kept. Of all other rows, at most ``floor(fraction * target rows)`` are kept;
    the cap is divided among the general domains in proportion to their rows, and the sampler's seed picks which rows.

    Args:
        target: name or names of the target domains.
        fraction: replay volume over target volume, > 0.
    """

    target: str | Iterable[str]
    fraction: float = 0.5

    def __post_init__(self):
        names = (self.target,) if isinstance(self.target, str) else tuple(sorted(set(self.target)))
        object.__setattr__(self, "target", names)
        if not names:
            raise ValueError("Coreset needs at least one target domain.")
        if not _is_number(self.fraction) or not 0 < self.fraction < math.inf:
            raise ValueError(f"Coreset fraction must be a number above 0, not {self.fraction!r}.")


Mixture = str | Mapping[str, float] | Coreset


def mixture_from_config(value: str | Mapping[str, float], targets: Iterable[str]) -> Mixture:
    """The mixture a config value spells.

    ``uniform`` and ``proportional`` are themselves; ``coreset`` is ``Coreset(targets)`` and ``coreset:0.3`` sets its
    fraction; a mapping is one share per domain. (A mapping never means a coreset, so a domain may bear any name.)

    Raises:
        ValueError: for any other value.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if value in ("uniform", "proportional"):
        return value
    kind, colon, fraction = str(value).partition(":")
    if kind != "coreset":
        raise ValueError(
            f"mixture must be uniform, proportional, coreset, coreset:FRACTION or one share per domain, not {value!r}."
        )
    if not colon:
        return Coreset(targets)
    try:
        number = float(fraction)
    except ValueError as error:
        raise ValueError(f"mixture {value!r} needs a number after the colon, as in coreset:0.5.") from error
    return Coreset(targets, number)


def describe(mixture: Mixture) -> str:
    """One line that is equal for equal mixtures, for checkpoints and messages."""
    if isinstance(mixture, Mapping):
        return " ".join(f"{name}={float(mixture[name])}" for name in sorted(mixture))
    if isinstance(mixture, Coreset):
        return f"coreset:{float(mixture.fraction)} of {' '.join(mixture.target)}"
    return str(mixture)


def plan(mixture: Mixture, rows: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Turn a mixture into integers.

    Args:
        mixture: ``"uniform"``, ``"proportional"``, one share per domain, or a :class:`Coreset`.
        rows: rows of each domain, all > 0.

    Returns:
        ``(weights, kept)``, both in the order of ``rows``: each domain's share of every batch as an integer weight
        (0 leaves the domain out), and how many of its rows may be drawn.

    Raises:
        ValueError: when the mixture is unknown, or its shares do not fit ``rows``; the message names the domain.
    """
    counts = list(rows.values())
    if isinstance(mixture, Coreset):
        kept = _kept_rows(mixture, rows)
        return _integer_weights(kept), kept
    if isinstance(mixture, Mapping):
        return _integer_weights(_checked_shares(mixture, rows)), counts
    if mixture == "uniform":
        return [1] * len(counts), counts
    if mixture == "proportional":
        return _integer_weights(counts), counts
    raise ValueError(
        f"mixture must be 'uniform', 'proportional', a mapping from domain to share, or a Coreset, not {mixture!r}."
    )


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _checked_shares(shares: Mapping[str, float], rows: Mapping[str, int]) -> list[float]:
    for name, share in shares.items():
        if name not in rows:
            raise ValueError(f"mixture gives a share to {name!r}, which has no rows; domains: {', '.join(rows)}.")
        if not _is_number(share) or not 0 <= share < math.inf:
            raise ValueError(f"mixture share of {name!r} must be a number of at least 0, not {share!r}.")
    for name, count in rows.items():
        if name not in shares:
            raise ValueError(f"mixture gives no share to {name!r} ({count} rows); give it one, or 0 to leave it out.")
    if not any(shares.values()):
        raise ValueError("mixture gives every domain a share of 0; at least one must be above 0.")
    return [shares[name] for name in rows]


def _integer_weights(shares: list[float]) -> list[int]:
    """Integers in the exact ratio of the decimals as written; beyond 40 bits in all, rounded to that precision."""
    exact = [Fraction(str(share)) for share in shares]
    scale = math.lcm(*(share.denominator for share in exact))
    weights = [int(share * scale) for share in exact]
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    if total <= MAX_TOTAL_WEIGHT:
        return weights
    return [max(1, weight * MAX_TOTAL_WEIGHT // total) if weight else 0 for weight in weights]


def _kept_rows(coreset: Coreset, rows: Mapping[str, int]) -> list[int]:
    for name in coreset.target:
        if name not in rows:
            raise ValueError(f"Coreset target {name!r} has no rows; domains: {', '.join(rows)}.")
    general = np.array([0 if name in coreset.target else count for name, count in rows.items()], dtype=np.int64)
    targets = sum(rows[name] for name in coreset.target)
    cap = min(int(general.sum()), math.floor(coreset.fraction * targets))
    if general.any() and cap == 0:
        raise ValueError(
            f"Coreset keeps no general row: {coreset.fraction} of {targets} target rows is less than one; "
            "raise its fraction."
        )
    quota = next_quota(general, np.zeros_like(general), cap)[0] if cap else general
    keeps = zip(rows.items(), quota.tolist(), strict=True)
    return [count if name in coreset.target else keep for (name, count), keep in keeps]
