"""What the weights must do, whatever the series."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.scheduler import PRESETS, RecapScheduler

ALL_PRESETS = sorted(PRESETS)
VALUE = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -1.0, 1e100, -1e100, 1e-300, 5e-324])


def build(objectives, preset="recap", **options):
    static = dict.fromkeys(objectives, 1.0) if preset == "static" else None
    return RecapScheduler(objectives, preset=preset, **{"static_weights": static, **options})


def run(scheduler, series):
    for values in zip(*series.values(), strict=True):
        scheduler.observe(dict(zip(series, values, strict=True)))
    return scheduler


def assert_mean_one(weights):
    assert abs(math.fsum(weights.values()) - len(weights)) <= 2 * math.ulp(max(weights.values()))


@pytest.mark.parametrize("preset", ALL_PRESETS)
@given(
    kind=st.sampled_from(["reward", "loss"]), values=st.lists(VALUE, min_size=1, max_size=30), size=st.integers(1, 40)
)
@settings(max_examples=40, deadline=None)
def test_equal_series_get_exactly_one(preset, kind, values, size):
    names = [f"domain/{k}" for k in range(size)]
    scheduler = run(build(dict.fromkeys(names, kind), preset, window=3), dict.fromkeys(names, values))
    assert scheduler.weights == dict.fromkeys(names, 1.0)


@pytest.mark.parametrize("preset", ALL_PRESETS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_weights_are_finite_bounded_and_of_mean_one_on_any_observations(preset, data):
    """No weight exceeds that of a softmax whose largest score leads all others by the largest possible difference."""
    kinds = data.draw(st.lists(st.sampled_from(["reward", "loss"]), min_size=1, max_size=5))
    objectives = {str(k): kind for k, kind in enumerate(kinds)}
    temperature = data.draw(st.floats(0.5, 20))
    scheduler = build(objectives, preset, window=2, temperature=temperature, c_max=4.0)
    lead = math.exp((3 * 4.0 - 1 / 4.0) / temperature)
    bound = len(kinds) * lead / (lead + len(kinds) - 1)
    step = st.dictionaries(st.sampled_from(sorted(objectives)), VALUE, max_size=5)
    for observation in data.draw(st.lists(step, max_size=12)):
        scheduler.observe(observation)
        weights = scheduler.weights
        assert_mean_one(weights)
        assert all(0 < weight <= bound * (1 + 1e-12) for weight in weights.values())
        for signals in scheduler.signals.values():
            assert math.isnan(signals.convergence) or 1 / 4 <= signals.convergence <= 4
            assert math.isnan(signals.instability) or abs(signals.instability) <= 4


@pytest.mark.parametrize("preset", ALL_PRESETS)
@pytest.mark.parametrize("level", [0.0, 1.0, 0.3, -2.0])
def test_constant_series_are_neither_moving_nor_unstable(preset, level):
    objectives = {"flat": "reward", "other": "loss"}
    scheduler = run(build(objectives, preset, window=5), {"flat": [level] * 10, "other": [level] * 10})
    assert scheduler.weights == {"flat": 1.0, "other": 1.0}


@pytest.mark.parametrize("at", range(20))
def test_a_one_step_spike_moves_the_weight_while_it_is_in_the_windows_and_not_after(at):
    spiked = [0.5] * 41
    spiked[at] = 1e6
    scheduler = RecapScheduler({"calm": "reward", "spiked": "reward"}, window=10)
    run(scheduler, {"calm": [0.5] * 20, "spiked": spiked[:20]})
    assert scheduler.weights["spiked"] != 1.0
    run(scheduler, {"calm": [0.5] * (at + 1), "spiked": spiked[20 : 21 + at]})
    assert scheduler.weights == {"calm": 1.0, "spiked": 1.0}


@pytest.mark.parametrize("kind", ["reward", "loss"])
@given(seed=st.integers(0, 10**6), start=st.floats(0.5, 0.95), fall=st.floats(0.1, 0.4), window=st.integers(3, 30))
@settings(max_examples=60, deadline=None)
def test_what_gets_worse_over_a_window_gains_over_what_holds(kind, seed, start, fall, window):
    noise = 0.01 * np.random.default_rng(seed).standard_normal((2, 2 * window))
    slide = np.concatenate([np.zeros(window), np.linspace(0, fall, window)])
    sign = -1 if kind == "reward" else 1
    series = {"held": start + noise[0], "worse": start + sign * slide + noise[1]}
    weights = run(RecapScheduler(dict.fromkeys(series, kind), window=window), series).weights
    assert weights["worse"] > 1 > weights["held"]


def test_a_reward_that_falls_from_eight_to_six_tenths_gains():
    series = {"held": [0.8] * 20, "fell": [0.8] * 10 + [0.6] * 10}
    scheduler = run(RecapScheduler(dict.fromkeys(series, "reward")), series)
    assert scheduler.signals["fell"].convergence == pytest.approx(0.8 / 0.6)
    assert scheduler.weights["fell"] > 1.04


@pytest.mark.parametrize("level", [-5.0, 5.0])
def test_a_rising_loss_gains_on_either_side_of_zero(level):
    series = {
        "held": [level] * 20,
        "worse": np.linspace(level, level + 1, 20),
        "better": np.linspace(level, level - 1, 20),
    }
    weights = run(RecapScheduler(dict.fromkeys(series, "loss")), series).weights
    assert weights["worse"] > weights["held"] > weights["better"]


@pytest.mark.parametrize(("kind", "after"), [("reward", -0.2), ("loss", 0.2)])
def test_getting_worse_through_zero_counts_as_worse(kind, after):
    scheduler = run(RecapScheduler({"it": kind}), {"it": [-3 * after] * 10 + [after] * 10})
    assert scheduler.signals["it"].convergence == pytest.approx(3.0)


@given(
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([10.0, 0.1, 1e9, 1e-9]),
    kind=st.sampled_from(["reward", "loss"]),
    level=st.sampled_from([0.0, 0.5, -4.0]),
)
@settings(max_examples=80, deadline=None)
def test_scaling_a_series_changes_nothing(seed, factor, kind, level):
    rng = np.random.default_rng(seed)
    series = {"a": level + rng.random(20), "b": rng.random(20)}
    objectives = {"a": kind, "b": "reward"}
    plain = run(RecapScheduler(objectives, temperature=0.5), series)
    scaled = run(RecapScheduler(objectives, temperature=0.5), {**series, "a": factor * series["a"]})
    assert scaled.weights == pytest.approx(plain.weights, rel=1e-9)


def test_rounding_noise_around_zero_is_no_trend():
    """Both windows sum to zero but for the last bit: the ratio of the two remainders means nothing."""
    scheduler = run(RecapScheduler({"it": "reward"}, window=3), {"it": [0.1, 0.2, -0.3, 0.3, -0.1, -0.2]})
    assert scheduler.signals["it"].convergence == 1.0


@pytest.mark.parametrize("preset", ALL_PRESETS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_windows_count_an_objectives_own_observations(preset, seed):
    """Steps without the objective leave it where it was: the same series with and without gaps ends the same."""
    rng = np.random.default_rng(seed)
    series = {"a": rng.random(25), "b": rng.random(25)}
    dense = run(build(dict.fromkeys(series, "reward"), preset, window=4), series)
    gappy = build(dict.fromkeys(series, "reward"), preset, window=4)
    queues = {name: list(values) for name, values in series.items()}
    while any(queues.values()):
        present = [name for name in queues if queues[name] and rng.random() < 0.5]
        gappy.observe({name: queues[name].pop(0) for name in present})
    assert gappy.weights == dense.weights
    assert gappy.metrics() == dense.metrics()


def test_an_objective_without_signals_keeps_one_and_the_others_share_the_rest():
    scheduler = RecapScheduler(dict.fromkeys("abc", "reward"), window=2)
    for value in (0.9, 0.9, 0.3, 0.3):
        assert set(scheduler.weights.values()) == {1.0}
        scheduler.observe({"a": value, "b": 0.5})
    weights = scheduler.weights
    assert weights["c"] == 1.0
    assert weights["a"] > 1 > weights["b"]
    assert_mean_one(weights)
    assert math.isnan(scheduler.signals["c"].priority)


def test_weights_do_not_depend_on_the_order_of_the_names():
    names = [f"o{k}" for k in range(20)]
    series = dict(zip(names, np.random.default_rng(0).random((20, 30)), strict=True))
    forward = run(RecapScheduler(dict.fromkeys(names, "reward"), temperature=0.3), series)
    backward = run(
        RecapScheduler(dict.fromkeys(names[::-1], "reward"), temperature=0.3), dict(reversed(series.items()))
    )
    assert forward.weights == backward.weights


def test_changing_the_returned_weights_changes_nothing():
    scheduler = RecapScheduler({"a": "reward"})
    scheduler.weights["a"] = 7.0
    assert scheduler.weights == {"a": 1.0}


def test_metrics_carry_the_names_of_the_loggers_and_no_nan():
    scheduler = RecapScheduler({"math/accuracy": "reward", "ntp": "loss"}, window=2)
    assert scheduler.metrics() == {"recap/weight/math/accuracy": 1.0, "recap/weight/ntp": 1.0}
    for value in (0.4, 0.4, 0.2, 0.2):
        scheduler.observe({"math/accuracy": value})
    metrics = scheduler.metrics()
    assert metrics["recap/convergence/math/accuracy"] == pytest.approx(2.0)
    assert metrics["recap/instability/math/accuracy"] == scheduler.signals["math/accuracy"].instability
    assert set(metrics) == {
        "recap/weight/math/accuracy",
        "recap/weight/ntp",
        "recap/convergence/math/accuracy",
        "recap/instability/math/accuracy",
    }
