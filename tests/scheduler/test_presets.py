"""Every preset against its formula written out for one objective at a time."""

import math
from statistics import fmean, pstdev, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.scheduler import PRESETS, RecapScheduler

W = 4
KINDS = {"acc": "reward", "iou": "reward", "ntp": "loss"}


def observed(preset, steps, **options):
    scheduler = RecapScheduler(KINDS, window=W, preset=preset, **options)
    for step in steps:
        scheduler.observe(step)
    return scheduler


def traces(seed, length):
    rng = np.random.default_rng(seed)
    return {
        "acc": rng.uniform(0.1, 0.9, length),
        "iou": rng.uniform(0.4, 0.6, length),
        "ntp": rng.uniform(1, 3, length),
    }


def as_steps(series):
    return [dict(zip(series, values, strict=True)) for values in zip(*series.values(), strict=True)]


def softmax(scores, temperature):
    total = sum(math.exp(score / temperature) for score in scores.values())
    return {name: len(scores) * math.exp(score / temperature) / total for name, score in scores.items()}


def by_paper(name, values):
    loss = [1 - value for value in values] if KINDS[name] == "reward" else list(values)
    old, new = fmean(loss[-2 * W : -W]), fmean(loss[-W:])
    return old / new, stdev(loss[-2 * W :]) / (old + new)


def by_recap(name, values):
    old, new = fmean(values[-2 * W : -W]), fmean(values[-W:])
    return (old / new if KINDS[name] == "reward" else new / old), stdev(values[-2 * W :]) / (old + new)


def by_release(name, values):
    kept = values[-2 * W :]
    middle = len(kept) // 2
    old, new = fmean(kept[:middle]), fmean(kept[middle:])
    return (old / new if KINDS[name] == "reward" else new / old), pstdev(kept) / fmean(kept)


@pytest.mark.parametrize(("preset", "formula"), [("paper", by_paper), ("recap", by_recap)])
@given(seed=st.integers(0, 10**6), length=st.integers(2 * W, 30), alpha=st.floats(0, 1), temperature=st.floats(0.5, 20))
@settings(max_examples=40, deadline=None)
def test_one_softmax_over_both_signals(preset, formula, seed, length, alpha, temperature):
    series = traces(seed, length)
    scheduler = observed(preset, as_steps(series), alpha=alpha, temperature=temperature)
    priority = {}
    for name, values in series.items():
        c, i = formula(name, values.tolist())
        priority[name] = 2 * (alpha * c + (1 - alpha) * i)
        assert scheduler.signals[name] == pytest.approx((c, i, priority[name]))
    assert scheduler.weights == pytest.approx(softmax(priority, temperature))


def test_the_default_alpha_adds_the_two_signals():
    signals = observed("recap", as_steps(traces(0, 9))).signals["ntp"]
    assert signals.priority == signals.convergence + signals.instability


@given(seed=st.integers(0, 10**6), length=st.integers(2, 30), alpha=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_release_mixes_two_softmaxes_from_the_second_observation_on(seed, length, alpha):
    series = traces(seed, length)
    scheduler = observed("release", as_steps(series), alpha=alpha, temperature=0.5)
    c, i = ({name: by_release(name, values.tolist())[part] for name, values in series.items()} for part in (0, 1))
    for name, signals in scheduler.signals.items():
        assert signals[:2] == pytest.approx((c[name], i[name]))
    by_c, by_i = softmax(c, 0.5), softmax(i, 0.5)
    assert scheduler.weights == pytest.approx({name: alpha * by_c[name] + (1 - alpha) * by_i[name] for name in KINDS})


def test_dwa_looks_at_the_last_two_losses():
    scheduler = observed("dwa", [{"acc": 0.5, "iou": 0.2, "ntp": 2.0}], temperature=2.0)
    assert set(scheduler.weights.values()) == {1.0}
    scheduler.observe({"acc": 0.75, "iou": 0.2, "ntp": 3.0})
    ratio = {"acc": 0.25 / 0.5, "iou": 1.0, "ntp": 1.5}
    assert scheduler.weights == pytest.approx(softmax(ratio, 2.0))
    signals = scheduler.signals["acc"]
    assert signals.convergence == signals.priority == 0.5
    assert math.isnan(signals.instability)


def test_static_weights_are_the_weights_from_the_start_and_stay():
    scheduler = RecapScheduler(KINDS, window=W, preset="static", static_weights={"acc": 2, "ntp": 3})
    expected = {"acc": 1.0, "iou": 0.5, "ntp": 1.5}
    for step in as_steps(traces(3, 20)):
        assert scheduler.weights == expected
        scheduler.observe(step)
    assert scheduler.signals == observed("recap", as_steps(traces(3, 20))).signals


def test_uniform_stays_at_one_and_still_measures():
    scheduler = observed("uniform", as_steps(traces(4, 20)))
    assert set(scheduler.weights.values()) == {1.0}
    assert scheduler.signals == observed("recap", as_steps(traces(4, 20))).signals


@pytest.mark.parametrize("preset", ["recap", "paper", "dwa"])
def test_static_weights_are_a_log_prior_of_the_softmax(preset):
    prior = {"acc": 4.0, "iou": 0.5}
    scheduler = observed(preset, as_steps(traces(5, 12)), static_weights=prior)
    scores = {name: s.priority / 5.0 + math.log(prior.get(name, 1.0)) for name, s in scheduler.signals.items()}
    assert scheduler.weights == pytest.approx(softmax(scores, 1.0))


def test_a_prior_holds_before_the_signals_do():
    scheduler = RecapScheduler(KINDS, static_weights={"acc": 4.0})
    assert scheduler.weights == pytest.approx({"acc": 2.0, "iou": 0.5, "ntp": 0.5})


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"static", "uniform", "confident", "distance"}))
def test_a_low_temperature_sharpens(preset):
    spread = [
        np.ptp(list(observed(preset, as_steps(traces(6, 20)), temperature=temperature).weights.values()))
        for temperature in (0.2, 1.0, 5.0, 100.0)
    ]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < spread[0]


@pytest.mark.parametrize(
    ("preset", "worsening_gains"),
    [("recap", True), ("confident", True), ("distance", True), ("release", True), ("dwa", True), ("paper", False)],
)
def test_orientation(preset, worsening_gains):
    """The authors' code and DWA weight up what gets worse; the paper's text weights it down."""
    objectives = {"held": "loss", "worse": "loss"}
    scheduler = RecapScheduler(objectives, window=W, preset=preset, alpha=1.0)
    for step in range(2 * W):
        scheduler.observe({"held": 1.0, "worse": 1.0 + 0.1 * step})
    assert (scheduler.weights["worse"] > scheduler.weights["held"]) == worsening_gains


def test_confident_acts_on_changes_that_chance_does_not_explain():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, 2 * W)
    falls = np.repeat([0.8, 0.4], W) + noise
    steps = as_steps({"acc": falls, "iou": 0.5 + noise - noise.mean(), "ntp": np.full(2 * W, 2.0)})
    scheduler = observed("confident", steps, temperature=0.5)
    sure, plain = scheduler.signals, observed("recap", steps, temperature=0.5).signals
    assert sure["iou"].convergence == sure["ntp"].convergence == 1.0
    old, new = falls[:W], falls[W:]
    z = (old.mean() - new.mean()) / math.sqrt((old.var(ddof=1) + new.var(ddof=1)) / W)
    assert sure["acc"].convergence == pytest.approx(plain["acc"].convergence ** (1 - (2 / z) ** 2))
    assert scheduler.weights == pytest.approx(softmax({name: s.convergence for name, s in sure.items()}, 0.5))


def test_distance_sees_a_loss_that_is_too_slow_for_adjacent_windows():
    falls = 0.8 * 0.99 ** np.arange(20 * W)
    rises = 0.2 + 0.02 * np.arange(20 * W)
    steps = as_steps({"acc": falls, "iou": rises, "ntp": np.full(20 * W, 2.0)})
    signals, plain = observed("distance", steps).signals, observed("recap", steps).signals
    assert signals["acc"].convergence == pytest.approx(falls[:W].mean() / falls[-W:].mean())
    assert signals["acc"].convergence > 2 > 1.2 > plain["acc"].convergence
    assert signals["iou"].convergence == signals["ntp"].convergence == 1.0, "what gained is not weighted down"
