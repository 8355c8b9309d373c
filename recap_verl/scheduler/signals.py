"""Two adjacent windows over each objective's own observations, at a cost that does not depend on their length."""

from typing import NamedTuple

import numpy as np


class Signals(NamedTuple):
    """What one objective's recent history says; all NaN until there are enough observations.

    convergence: ratio of the two window means, c in arXiv 2510.21978.
    instability: relative spread over both windows, i; NaN where the preset does not measure it.
    priority: what the softmax sees, s.
    """

    convergence: float
    instability: float
    priority: float


class TwoWindows:
    """Means of the last W and of the W observations before them, and the spread over all 2W, for K series.

    Every series advances at its own pace: a push moves the windows of the series it names and of no other.

    A window is the tail of the last finished block of W observations plus the block now filling. Statistics of every
    tail are computed once, when a block is finished; those of the filling block grow by Welford's update; the two are
    joined by Chan's formula. Nothing is ever subtracted from a sum, so a spike that has left the windows leaves no
    rounding error behind, no error outlives two blocks, and the last 2W values determine every result to the last bit.

    Attributes, each of shape (K,): `count` observations so far, `first` mean of the first W of them, or of all if there
    are fewer, `previous` and `recent` window means, `squares` sum of squared deviations over both windows. The last
    three are meaningful where `full()` holds.
    """

    def __init__(self, series: int, window: int):
        self.window = window
        self.count = np.zeros(series, dtype=np.int64)
        self.first = np.zeros(series)
        self.previous = np.zeros(series)
        self.recent = np.zeros(series)
        self.squares = np.zeros(series)
        self._history = np.zeros((2 * window, series))
        self._block_mean = np.zeros(series)
        self._block_squares = np.zeros(series)
        # Row n: the tail of the last finished block that is left once n new observations have come in.
        self._tail_mean = np.zeros((window + 1, series))
        self._tail_squares = np.zeros((window + 1, series))
        # The window before the recent one IS the recent window of W observations ago: keep W of them.
        self._past_mean = np.zeros((window, series))
        self._past_squares = np.zeros((window, series))

    def full(self) -> np.ndarray:
        """Which series have 2W observations, (K,) bool."""
        return self.count >= 2 * self.window

    def push(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Append one finite value to each of the distinct series `rows`; both have shape (n,)."""
        window = self.window
        count = self.count[rows]
        phase = count % window
        filled = phase + 1
        self._history[count % (2 * window), rows] = values

        deviation = values - self._block_mean[rows]
        mean = self._block_mean[rows] + deviation / filled
        squares = self._block_squares[rows] + deviation * (values - mean)
        self._block_mean[rows] = mean
        self._block_squares[rows] = squares
        self.first[rows] = np.where(count < window, mean, self.first[rows])

        gap = self._tail_mean[filled, rows] - mean
        tail_share = 1 - filled / window
        mean = mean + gap * tail_share
        squares = squares + self._tail_squares[filled, rows] + gap * gap * filled * tail_share

        at = phase, rows
        previous = self._past_mean[at]
        self.previous[rows] = previous
        self.recent[rows] = mean
        self.squares[rows] = self._past_squares[at] + squares + (mean - previous) ** 2 * (window / 2)
        self._past_mean[at] = mean
        self._past_squares[at] = squares
        self.count[rows] = count + 1

        finished = filled == window
        if finished.any():
            self._finish_block(rows[finished])

    def _finish_block(self, rows: np.ndarray) -> None:
        window = self.window
        newest_first = (self.count[rows] - 1 - np.arange(window)[:, None]) % (2 * window)
        values = self._history[newest_first, rows]
        length = np.arange(1, window + 1)[:, None]
        # Offsets from the newest value: a tail's statistics then never touch a value that is older than the tail.
        offset = values - values[0]
        mean = np.cumsum(offset, axis=0) / length
        growth = (offset[1:] - mean[:-1]) ** 2 * (length[:-1] / length[1:])
        self._tail_mean[:window, rows] = (values[0] + mean)[::-1]
        self._tail_squares[: window - 1, rows] = np.cumsum(growth, axis=0)[::-1]
        self._block_mean[rows] = 0.0
        self._block_squares[rows] = 0.0

    def last(self, back: int) -> np.ndarray:
        """The value pushed `back` pushes ago (0: the newest) in each series, (K,); 0 where there is none."""
        return self._history[(self.count - 1 - back) % (2 * self.window), np.arange(len(self.count))]

    def halves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Older-half mean, newer-half mean, mean and population standard deviation of the last 2W values, (K,) each.

        A history shorter than 2W is taken whole; one of odd length gives its middle value to the newer half.
        O(KW) while any history is shorter than 2W.
        """
        count = np.minimum(self.count, 2 * self.window)
        older = count // 2
        newer = count - older
        previous, recent, squares, full = self.previous, self.recent, self.squares, self.full()
        if not full.all():
            # Slots that hold no value yet are 0 and add nothing to a sum.
            values = self._history[: count.max()]
            slot = np.arange(len(values))[:, None]
            in_older = slot < older
            previous = np.where(full, previous, (values * in_older).sum(axis=0) / np.maximum(older, 1))
            recent = np.where(full, recent, (values * ~in_older).sum(axis=0) / np.maximum(newer, 1))
        mean = (older * previous + newer * recent) / np.maximum(count, 1)
        if not full.all():
            deviation = (values - mean) * (slot < count)
            squares = np.where(full, squares, (deviation * deviation).sum(axis=0))
        return previous, recent, mean, np.sqrt(squares / np.maximum(count, 1))

    def history(self, row: int) -> list[float]:
        """The last 2W values of one series, or fewer, oldest first."""
        count, capacity = int(self.count[row]), 2 * self.window
        return self._history[np.arange(max(count - capacity, 0), count) % capacity, row].tolist()

    @classmethod
    def restored(
        cls, window: int, counts: list[int], histories: list[list[float]], firsts: list[float]
    ) -> "TwoWindows":
        """The object whose series have seen `counts` observations, of which `histories` are the last 2W or fewer and
        `firsts` the means of the first W."""
        windows = cls(len(counts), window)
        lengths = np.array([len(history) for history in histories])
        windows.count[:] = counts - lengths
        values = np.zeros((max(lengths, default=0), len(counts)))
        for row, history in enumerate(histories):
            values[: len(history), row] = history
        for step, at_step in enumerate(values):
            rows = np.flatnonzero(lengths > step)
            windows.push(rows, at_step[rows])
        windows.first[:] = firsts
        return windows
