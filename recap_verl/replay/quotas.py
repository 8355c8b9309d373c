"""How many rows of each domain the next batch takes."""

import numpy as np


def next_quota(weights: np.ndarray, owed: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """One batch of whole rows whose running counts follow the shares ``weights / weights.sum()``.

    Every domain first gets the whole rows that are due to it by the end of this batch. The slots left over go, one
    each, to the domains whose next row is due in the earliest batch, and among equals to the largest remainder; what
    is left of each remainder is carried to the next batch in ``owed``.

    Invariant: starting from ``owed = 0``, after n batches every domain has received the floor or the ceiling of
    ``n * batch_size * share`` rows, so its count is never a whole row off. This is earliest-deadline-first on unit
    jobs: row j of a domain may be taken from the batch in which the domain's ideal count passes j and must be taken
    by the one in which it reaches j + 1. Taking the ideal fractions meets all those windows, hence so does
    earliest-deadline-first, whatever breaks its ties. The largest remainder alone does not: domains with much less
    than a row a batch can then crowd out a larger one.

    Args:
        weights: ``(domains,)`` int64 shares, any common scale; 0 leaves a domain out.
        owed: ``(domains,)`` int64 rows owed before this batch, in units of ``1 / weights.sum()`` rows; sums to 0.
        batch_size: rows in the batch; ``batch_size * weights.sum()`` must fit in an int64.

    Returns:
        ``(quota, owed)``, each ``(domains,)`` int64: the rows to take (summing to ``batch_size``), and what is owed
        after them.
    """
    row = weights.sum()
    owed = owed + batch_size * weights
    quota = np.maximum(owed // row, 0)
    owed -= quota * row
    waiting = np.flatnonzero(owed > 0)
    batches_until_due = -((owed[waiting] - row) // (batch_size * weights[waiting]))
    soonest = waiting[np.lexsort((-owed[waiting], batches_until_due))][: batch_size - quota.sum()]
    quota[soonest] += 1
    owed[soonest] -= row
    return quota, owed
