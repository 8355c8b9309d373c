"""Wrong configuration and wrong observations are named, and change nothing."""

import math

import pytest

from recap_verl.scheduler import RecapScheduler

TWO = {"accuracy": "reward", "ntp": "loss"}


@pytest.mark.parametrize(
    ("objectives", "options", "message"),
    [
        ({}, {}, "objectives must map at least one name"),
        (["accuracy"], {}, "objectives must map"),
        ({"accuracy": "rewards"}, {}, "objectives: kind of 'accuracy' must be 'reward' or 'loss', but is 'rewards'"),
        ({3: "reward"}, {}, "objectives: a name must be a string"),
        (TWO, {"window": 1}, "window must be a whole number"),
        (TWO, {"window": 2.5}, "window must be a whole number"),
        (TWO, {"window": True}, "window must be a whole number"),
        (TWO, {"temperature": 0}, "temperature must be a positive"),
        (TWO, {"temperature": math.nan}, "temperature must be a positive"),
        (TWO, {"temperature": "5"}, "temperature must be a positive"),
        (
            TWO,
            {"preset": "recaps"},
            "preset must be one of recap, paper, release, confident, distance, dwa, static, uniform, but is 'recaps'",
        ),
        (TWO, {"preset": ["recap"]}, "preset must be one of"),
        (TWO, {"alpha": 1.01}, "alpha must be a number between 0 and 1"),
        (TWO, {"alpha": -0.01}, "alpha must be a number between 0 and 1"),
        (TWO, {"alpha": math.nan}, "alpha must be a number between 0 and 1"),
        (TWO, {"c_max": 1.0}, "c_max must be a finite number above 1"),
        (TWO, {"c_max": math.inf}, "c_max must be a finite number above 1"),
        (TWO, {"preset": "static"}, "static_weights must give at least one weight when preset is 'static'"),
        (
            TWO,
            {"static_weights": {"iou": 1.0}},
            "static_weights: 'iou' is not an objective; objectives are accuracy, ntp",
        ),
        (TWO, {"static_weights": {"ntp": 0.0}}, "static_weights: weight of 'ntp' must be a positive finite number"),
        (
            TWO,
            {"static_weights": {"ntp": math.inf}},
            "static_weights: weight of 'ntp' must be a positive finite number",
        ),
        (TWO, {"static_weights": {"ntp": 10**400}}, "static_weights: weight of 'ntp' must be a positive finite number"),
        (TWO, {"static_weights": [1.0, 2.0]}, "static_weights must map objectives to positive numbers"),
    ],
)
def test_configuration_errors_name_the_key_in_one_line(objectives, options, message):
    with pytest.raises(ValueError) as error:
        RecapScheduler(objectives, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "much", [0.5], 10**400, 1e200])
@pytest.mark.parametrize("order", [("accuracy", "ntp"), ("ntp", "accuracy")])
def test_a_value_that_is_no_finite_number_is_named_and_nothing_is_observed(value, order):
    scheduler = RecapScheduler(TWO)
    scheduler.observe({"accuracy": 0.25, "ntp": 2.0})
    before = scheduler.state_dict()
    means = {"accuracy": 0.5, "ntp": value}
    with pytest.raises(ValueError, match="observation of 'ntp' must be a finite number"):
        scheduler.observe({name: means[name] for name in order})
    assert scheduler.state_dict() == before


def test_an_unknown_objective_is_named_and_nothing_is_observed():
    scheduler = RecapScheduler(TWO)
    before = scheduler.state_dict()
    with pytest.raises(KeyError, match="'iou' is not an objective; objectives are accuracy, ntp"):
        scheduler.observe({"accuracy": 0.5, "iou": 0.5})
    assert scheduler.state_dict() == before


def test_an_empty_step_is_no_step():
    scheduler = RecapScheduler(TWO)
    before = scheduler.state_dict()
    scheduler.observe({})
    assert scheduler.state_dict() == before


def test_rewards_outside_the_unit_interval_are_observed():
    scheduler = RecapScheduler({"score": "reward"}, window=2)
    for value in (-3.0, 12.0, 7, True):
        scheduler.observe({"score": value})
    assert scheduler.state_dict()["series"]["score"]["values"] == [-3.0, 12.0, 7.0, 1.0]
