"""ReplaySampler: an endless, exactly mixed and resumable stream of data-set rows."""

import hashlib
from collections.abc import Iterator

import numpy as np

from recap_verl.replay.domain_stream import BATCH, DomainStream, generator
from recap_verl.replay.mixture import Mixture, describe, plan
from recap_verl.replay.quotas import next_quota
from recap_verl.replay.rows import encode_domains, rows_by_domain
from recap_verl.replay.state import check_count, check_counts, check_follows, check_identity, check_keys

MAX_BATCH_SIZE = 2**20


class ReplaySampler:
    """Row indices whose every ``batch_size`` consecutive ones hold each domain's quota.

    Quotas: after n batches each domain has the floor or the ceiling of ``n * batch_size * share`` rows
    (see :func:`recap_verl.replay.quotas.next_quota`). Inside a batch the rows are shuffled, so that no domain always
    comes first. A domain reads its own rows pass after pass, each pass in a new order; one that is smaller than its
    quota goes through several passes within a batch.

    Epochs: an iterator ends with its epoch; the next one begins the next epoch. An epoch is ``len(self)`` indices:

    - ``exhaust="reshuffle"``: as many whole batches as the rows the mixture uses would fill (at least one). Quotas
      and passes run on from one epoch to the next: a domain that runs out wraps round by itself.
    - ``exhaust="stop"``: the batches until the first domain is used up, ``min(rows // (batch_size * share))``. No row
      comes twice in an epoch; the next epoch starts all domains over in new orders.

    The position belongs to the sampler: an iterator made in the middle of an epoch goes on from there, and so does
    the first one after ``load_state_dict``. Every order is a pure function of the seed and the position (and of
    numpy's generators), so that resuming replays nothing. Within torchdata's ``StatefulDataLoader`` (as ``sampler``,
    its batch size dividing this one) the loader's state is that of the batches consumed, whatever its workers have
    prefetched; ``state_dict`` and ``metrics`` called on the sampler itself count what was prefetched as drawn.

    Args:
        domains: one domain name per data-set row: a sequence or numpy array of str, or a pyarrow (dictionary) column.
        batch_size: rows of one training step, 1 to 2**20.
        mixture: ``"uniform"``, ``"proportional"`` (to the rows of each domain), a mapping with one share per domain
            (any scale, 0 leaves a domain out), or a :class:`~recap_verl.replay.Coreset`.
        seed: int >= 0.
        exhaust: ``"reshuffle"`` or ``"stop"``.

    Raises:
        TypeError, ValueError: an argument is out of its range, or a mixture does not fit the data; the message names
            the argument, the row or the domain.
    """

    # Whether the shares can change, see FollowingSampler.
    _follows = False

    def __init__(
        self, domains, batch_size: int, mixture: Mixture = "uniform", seed: int = 0, exhaust: str = "reshuffle"
    ):
        _check_int("batch_size", batch_size, 1, MAX_BATCH_SIZE)
        _check_int("seed", seed, 0, None)
        if exhaust not in ("reshuffle", "stop"):
            raise ValueError(f"exhaust must be 'reshuffle' or 'stop', not {exhaust!r}.")
        self._batch_size = int(batch_size)
        self._seed = int(seed)
        self._stop = exhaust == "stop"

        self._names, codes = encode_domains(domains)
        tables = rows_by_domain(codes, len(self._names))
        rows = {name: len(table) for name, table in zip(self._names, tables, strict=True)}
        weights, kept = plan(mixture, rows)
        self._weights = np.array(weights, dtype=np.int64)
        self._kept = np.array(kept, dtype=np.int64)
        self._streams = [
            DomainStream(table, keep, domain, self._seed)
            for domain, (table, keep) in enumerate(zip(tables, kept, strict=True))
        ]
        self._epoch_batches = self._count_epoch_batches()
        self._identity = {
            "batch_size": self._batch_size,
            "seed": self._seed,
            "exhaust": exhaust,
            "mixture": describe(mixture),
            "rows": rows,
            "digest": hashlib.blake2b(codes.astype("<u2", copy=False), digest_size=16).hexdigest(),
        }

        nothing = np.zeros(len(self._names), dtype=np.int64)
        self._epoch = 0
        self._batches = 0  # since the quotas started: the whole run, or with "stop" this epoch
        self._taken = nothing  # rows of each domain in those batches
        self._drawn = nothing  # rows of each domain in the whole run
        self._owed = nothing
        self._offset = 0  # indices of the current batch already given out
        self._batch: list[int] | None = None

    def __len__(self) -> int:
        """Indices in one epoch, a multiple of the batch size."""
        return self._epoch_batches * self._batch_size

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch
        while self._epoch == epoch:
            if self._batch is None:
                if self._epoch_is_over():
                    self._begin_next_epoch()
                    return
                self._begin_batch()
            index = self._batch[self._offset]
            self._offset += 1
            if self._offset == self._batch_size:
                self._end_batch()
            yield index

    def state_dict(self) -> dict:
        """The position and what it refers to, as plain JSON values; equal states give equal next indices."""
        return {
            **self._identity,
            "rows": dict(self._identity["rows"]),
            "epoch": self._epoch,
            "batches": self._batches,
            "offset": self._offset,
            "taken": self._taken.tolist(),
            "drawn": self._drawn.tolist(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go to the position of a state; the next index is the one that followed it.

        Raises:
            TypeError, ValueError: the state lacks or adds a key, comes from other data or arguments, or is damaged.
                The message names what differs, and the sampler stays as it was.
        """
        check_follows(state, self._follows)
        check_keys(state, set(self.state_dict()))
        check_identity(state, self._identity)
        owed = self._check_position(state)
        self._epoch = state["epoch"]
        self._batches = state["batches"]
        self._taken = np.array(state["taken"], dtype=np.int64)
        self._drawn = np.array(state["drawn"], dtype=np.int64)
        self._owed = np.array(owed, dtype=np.int64)
        self._offset = state["offset"]
        self._batch = None
        if self._offset:
            self._begin_batch()

    def metrics(self) -> dict[str, float]:
        """``recap/share/<domain>``: its share of all rows drawn so far, the current batch included; {} before any."""
        drawn = self._drawn if self._batch is None else self._drawn + self._quota
        total = int(drawn.sum())
        if total == 0:
            return {}
        return {f"recap/share/{name}": int(count) / total for name, count in zip(self._names, drawn, strict=True)}

    def _count_epoch_batches(self) -> int:
        used = np.flatnonzero(self._weights)
        if not self._stop:
            return max(1, int(self._kept[used].sum()) // self._batch_size)
        total = int(self._weights.sum())
        for domain in used:
            share = self._batch_size * int(self._weights[domain]) / total
            if self._kept[domain] < share:
                raise ValueError(
                    f"exhaust='stop' needs a batch of every domain, but {self._names[domain]!r} has "
                    f"{self._kept[domain]} rows for {share:g} a batch; give it more rows or a smaller share."
                )
        return min(int(self._kept[d]) * total // (self._batch_size * int(self._weights[d])) for d in used)

    def _epoch_is_over(self) -> bool:
        finished_epochs = 0 if self._stop else self._epoch
        return self._batches == (finished_epochs + 1) * self._epoch_batches

    def _begin_next_epoch(self) -> None:
        self._epoch += 1
        if self._stop:
            self._batches = 0
            self._taken = np.zeros_like(self._taken)
            self._owed = np.zeros_like(self._owed)

    def _begin_batch(self) -> None:
        self._quota, self._next_owed = self._next_quota()
        # With "stop" epoch e is pass e of every domain, however little of the passes before was read.
        start = self._taken + self._epoch * self._kept if self._stop else self._taken
        pieces = []
        for domain in np.flatnonzero(self._quota).tolist():
            pieces += self._streams[domain].read(int(start[domain]), int(self._quota[domain]))
        rng = generator(BATCH, self._epoch, self._batches, self._seed)
        self._batch = rng.permutation(np.concatenate(pieces)).tolist()

    def _next_quota(self) -> tuple[np.ndarray, np.ndarray]:
        return next_quota(self._weights, self._owed, self._batch_size)

    def _end_batch(self) -> None:
        self._taken = self._taken + self._quota
        self._drawn = self._drawn + self._quota
        self._owed = self._next_owed
        self._batches += 1
        self._offset = 0
        self._batch = None

    def _check_position(self, state: dict) -> list[int]:
        """Rows owed at the state's position (see ``next_quota``), once its numbers are known to agree."""
        check_count(state, "epoch", 0, None)
        check_count(state, "offset", 0, self._batch_size - 1)
        earlier = state["epoch"] * self._epoch_batches
        first = 0 if self._stop else earlier
        check_count(state, "batches", first, first + self._epoch_batches)
        rows = state["batches"] * self._batch_size
        check_counts(state, "taken", len(self._names), rows)
        check_counts(state, "drawn", len(self._names), rows + (earlier - first) * self._batch_size)
        return self._owed_at(state)

    def _owed_at(self, state: dict) -> list[int]:
        rows = state["batches"] * self._batch_size
        # In Python's integers: these products grow with the run.
        total = int(self._weights.sum())
        owed = [
            rows * weight - taken * total for weight, taken in zip(self._weights.tolist(), state["taken"], strict=True)
        ]
        if any(abs(rest) >= total for rest in owed):
            raise ValueError(f"sampler state is damaged: taken does not follow from {state['batches']} batches.")
        return owed


def _check_int(name: str, value, low: int, high: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, not {value!r}.")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be {f'at least {low}' if high is None else f'{low} to {high}'}, not {value}.")
