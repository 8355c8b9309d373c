"""A saved scheduler continues to the last bit; a state that is not its own is refused whole."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.scheduler import PRESETS, RecapScheduler

OBJECTIVES = {"math/accuracy": "reward", "iou": "reward", "ntp": "loss"}


def build(preset="recap", **options):
    options = {"window": 5, "static_weights": {"iou": 2.0}, **options}
    return RecapScheduler(options.pop("objectives", OBJECTIVES), preset=preset, **options)


def random_step(rng):
    return {name: rng.normal(0.5, 0.3) for name in OBJECTIVES if rng.random() < 0.8}


def after(steps, seed=0, **options):
    scheduler, rng = build(**options), np.random.default_rng(seed)
    for _ in range(steps):
        scheduler.observe(random_step(rng))
    return scheduler


@pytest.mark.parametrize("preset", sorted(PRESETS))
@given(steps=st.integers(0, 60), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_restored_scheduler_gives_the_same_weights_to_the_last_bit(preset, steps, seed):
    original = after(steps, seed, preset=preset)
    saved = json.loads(json.dumps(original.state_dict(), sort_keys=True, allow_nan=False))
    restored = build(preset)
    restored.load_state_dict(saved)
    rng = np.random.default_rng(seed + 1)
    for _ in range(25):
        assert restored.weights == original.weights
        assert restored.metrics() == original.metrics()
        assert restored.state_dict() == original.state_dict()
        step = random_step(rng)
        original.observe(step)
        restored.observe(step)


def test_loading_replaces_what_was_observed_before():
    original, other = after(30), after(17, seed=5)
    other.load_state_dict(original.state_dict())
    assert other.state_dict() == original.state_dict()
    assert other.weights == original.weights


def test_the_state_is_a_copy():
    scheduler = after(12)
    state = scheduler.state_dict()
    state["series"]["iou"]["values"].clear()
    state["config"]["objectives"].clear()
    assert scheduler.state_dict() == after(12).state_dict()


def test_the_state_does_not_grow_with_the_run():
    assert all(len(series["values"]) == 10 for series in after(200).state_dict()["series"].values())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window": 6}, "window is 5 there but 6 here"),
        ({"temperature": 1.0}, "temperature is 5.0 there but 1.0 here"),
        ({"preset": "paper"}, "preset is 'recap' there but 'paper' here"),
        ({"alpha": 0.25}, "alpha is 0.5 there but 0.25 here"),
        ({"c_max": 4.0}, "c_max is 10.0 there but 4.0 here"),
        ({"static_weights": None}, "static_weights is"),
        ({"objectives": {**OBJECTIVES, "ntp": "reward"}}, "objectives is"),
        ({"objectives": {**OBJECTIVES, "format": "reward"}}, "objectives is"),
    ],
)
def test_a_state_of_another_configuration_is_refused_by_name(change, named):
    target = build(**change)
    before = target.state_dict()
    with pytest.raises(ValueError, match="scheduler state: ") as error:
        target.load_state_dict(after(12).state_dict())
    assert named in str(error.value)
    assert target.state_dict() == before


def edited(edit):
    state = copy.deepcopy(after(12).state_dict())
    edit(state)
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "scheduler state must be a dict, but is NoneType"),
        ({}, "missing keys ['config', 'series', 'version']"),
        (edited(lambda s: s.update(extra=1)), "unknown keys ['extra']"),
        (edited(lambda s: s.update(version=1)), "version is 1, this code reads 2"),
        (edited(lambda s: s.update(config=[])), "config must be a dict"),
        (edited(lambda s: s["config"].pop("alpha")), "config: missing keys ['alpha']"),
        (edited(lambda s: s["series"].pop("iou")), "series: missing keys ['iou']"),
        (edited(lambda s: s["series"].update(iou=3)), "series of 'iou' must be a dict"),
        (edited(lambda s: s["series"]["iou"].pop("count")), "series of 'iou': missing keys ['count']"),
        (edited(lambda s: s["series"]["iou"].update(count=-1)), "series of 'iou': count must be a whole number"),
        (edited(lambda s: s["series"]["iou"].update(count=1.5)), "series of 'iou': count must be a whole number"),
        (edited(lambda s: s["series"]["iou"].update(count=10**30)), "series of 'iou': count must be a whole number"),
        (edited(lambda s: s["series"]["iou"]["values"].pop()), "series of 'iou': values must be a list of"),
        (edited(lambda s: s["series"]["iou"].update(values="0")), "series of 'iou': values must be a list of"),
        (edited(lambda s: s["series"]["iou"]["values"].__setitem__(2, float("nan"))), "but one is nan"),
        (edited(lambda s: s["series"]["iou"]["values"].__setitem__(2, "0.5")), "but one is '0.5'"),
        (edited(lambda s: s["series"]["iou"].update(first=float("inf"))), "but one is inf"),
        (edited(lambda s: s["series"]["iou"]["values"].__setitem__(2, 10**400)), "values must be finite numbers"),
    ],
)
def test_a_corrupt_state_is_refused_and_changes_nothing(state, message):
    target = after(9, seed=3)
    before, weights = target.state_dict(), target.weights
    with pytest.raises(ValueError) as error:
        target.load_state_dict(state)
    assert message in str(error.value)
    assert (target.state_dict(), target.weights) == (before, weights)
