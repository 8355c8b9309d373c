"""The incremental window statistics against numpy on the plain windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.scheduler.signals import TwoWindows

ALL = np.arange(1)


def feed(windows, values):
    for value in values:
        windows.push(ALL, np.array([value]))


def series(seed, length, offset, scale, spikes):
    rng = np.random.default_rng(seed)
    values = offset + scale * rng.standard_normal(length)
    values[rng.random(length) < spikes] += 1e6
    return values


@given(
    seed=st.integers(0, 10**6),
    window=st.integers(2, 12),
    length=st.integers(0, 90),
    offset=st.sampled_from([0.0, 0.5, -3.0, 1e6]),
    scale=st.sampled_from([0.0, 1e-3, 0.15, 1e3]),
    spikes=st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=300, deadline=None)
def test_agrees_with_numpy_after_every_observation(seed, window, length, offset, scale, spikes):
    values = series(seed, length, offset, scale, spikes)
    windows = TwoWindows(1, window)
    for end, value in enumerate(values, start=1):
        windows.push(ALL, np.array([value]))
        assert windows.full()[0] == (end >= 2 * window)
        np.testing.assert_allclose(windows.first[0], values[: min(end, window)].mean(), rtol=1e-9, atol=1e-9 * scale)
        if end < 2 * window:
            continue
        both = values[end - 2 * window : end]
        rounding = 1e-14 * np.abs(both).max()
        assert windows.previous[0] == pytest.approx(both[:window].mean(), rel=1e-12, abs=rounding)
        assert windows.recent[0] == pytest.approx(both[window:].mean(), rel=1e-12, abs=rounding)
        std = np.sqrt(windows.squares[0] / (2 * window - 1))
        assert std == pytest.approx(both.std(ddof=1), rel=1e-9, abs=rounding)


def test_small_noise_on_a_large_offset_keeps_its_spread():
    values = 1e6 + 1e-3 * np.random.default_rng(1).standard_normal(5000)
    windows = TwoWindows(1, 50)
    feed(windows, values)
    assert np.sqrt(windows.squares[0] / 99) == pytest.approx(values[-100:].std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("phase", range(7))
def test_a_spike_that_left_the_windows_leaves_nothing_behind(phase):
    window = 7
    calm = np.random.default_rng(phase).random(60)
    hit = calm.copy()
    hit[14 + phase] = 1e90
    without, with_spike = TwoWindows(1, window), TwoWindows(1, window)
    feed(without, calm[: 15 + phase + 2 * window])
    feed(with_spike, hit[: 15 + phase + 2 * window])
    for name in ("previous", "recent", "squares"):
        assert getattr(with_spike, name)[0] == getattr(without, name)[0]


def test_a_constant_series_has_no_spread_at_all():
    windows = TwoWindows(1, 9)
    feed(windows, [0.1] * 200)
    assert (windows.previous[0], windows.recent[0], windows.squares[0]) == (0.1, 0.1, 0.0)


@given(seed=st.integers(0, 10**6), window=st.integers(2, 6), steps=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_series_that_advance_at_their_own_pace_do_not_touch_each_other(seed, window, steps):
    rng = np.random.default_rng(seed)
    together, alone = TwoWindows(4, window), [TwoWindows(1, window) for _ in range(4)]
    for _ in range(steps):
        rows, values = np.flatnonzero(rng.random(4) < 0.6), rng.random(4)
        together.push(rows, values[rows])
        for row in rows:
            alone[row].push(ALL, values[row : row + 1])
    for row in range(4):
        assert together.history(row) == alone[row].history(0)
        for name in ("count", "previous", "recent", "squares"):
            assert getattr(together, name)[row] == getattr(alone[row], name)[0]


@given(seed=st.integers(0, 10**6), window=st.integers(2, 6), steps=st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_the_last_two_windows_of_values_restore_everything(seed, window, steps):
    rng = np.random.default_rng(seed)
    original = TwoWindows(3, window)
    push = lambda windows, rows, values: windows.push(rows, values[rows])  # noqa: E731
    for _ in range(steps):
        push(original, np.flatnonzero(rng.random(3) < 0.7), rng.random(3))
    histories = [original.history(row) for row in range(3)]
    copy = TwoWindows.restored(window, original.count.tolist(), histories, original.first.tolist())
    for _ in range(3 * window + 1):
        full = original.full()
        assert (copy.count == original.count).all()
        for name in ("previous", "recent", "squares"):
            np.testing.assert_array_equal(getattr(copy, name)[full], getattr(original, name)[full])
        rows, values = np.flatnonzero(rng.random(3) < 0.7), rng.random(3)
        push(original, rows, values)
        push(copy, rows, values)


@given(seed=st.integers(0, 10**6), window=st.integers(2, 6), length=st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_halves_split_a_short_history_in_the_middle_and_a_long_one_into_the_windows(seed, window, length):
    values = np.random.default_rng(seed).random(length)
    windows = TwoWindows(2, window)
    for value in values:
        windows.push(ALL, np.array([value]))
    windows.push(np.array([1]), np.array([3.0]))
    kept = values[-2 * window :]
    older, newer, mean, std = windows.halves()
    middle = len(kept) // 2
    assert older[0] == pytest.approx(kept[:middle].mean() if middle else 0.0)
    assert newer[0] == pytest.approx(kept[middle:].mean())
    assert mean[0] == pytest.approx(kept.mean())
    assert std[0] == pytest.approx(kept.std())
    assert (older[1], newer[1], mean[1], std[1]) == (0.0, 3.0, 3.0, 0.0)
