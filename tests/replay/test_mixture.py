"""Mixtures turn into the shares they name, or into a clear error."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.replay import Coreset, ReplaySampler, mixture_from_config
from recap_verl.replay.mixture import MAX_TOTAL_WEIGHT, describe, plan

ROWS = {"caption": 60, "math": 100, "ocr": 240}


def test_uniform_and_proportional():
    assert plan("uniform", ROWS) == ([1, 1, 1], [60, 100, 240])
    assert plan("proportional", ROWS) == ([3, 5, 12], [60, 100, 240])


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ({"math": 2, "ocr": 1, "caption": 0}, [0, 2, 1]),
        ({"math": 0.5, "ocr": 0.25, "caption": 0.25}, [1, 2, 1]),
        ({"math": 0.3045, "ocr": 0.2024, "caption": 0.2117}, [2117, 3045, 2024]),
        ({"math": np.float32(0.1), "ocr": np.int64(1), "caption": 0.3}, [3, 1, 10]),
    ],
)
def test_shares_are_exact_decimals(shares, weights):
    assert plan(shares, ROWS) == (weights, [60, 100, 240])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e12, allow_nan=False), min_size=3, max_size=3).filter(any))
def test_any_finite_shares_fit_the_integers_and_keep_their_ratio(values):
    shares = dict(zip(ROWS, values, strict=True))
    weights, _ = plan(shares, ROWS)
    total, exact_total = sum(weights), sum(Fraction(str(value)) for value in values)
    assert total <= MAX_TOTAL_WEIGHT + len(ROWS)
    for weight, value in zip(weights, values, strict=True):
        assert (weight > 0) == (value > 0)
        assert abs(Fraction(weight, total) - Fraction(str(value)) / exact_total) < Fraction(1, 2**37)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"math": 1, "ocr": 1}, r"no share to 'caption' \(60 rows\)"),
        ({"math": 1, "ocr": 1, "caption": 1, "orc": 1}, "share to 'orc', which has no rows"),
        ({"math": 1, "ocr": -1, "caption": 1}, "share of 'ocr' must be a number of at least 0, not -1"),
        ({"math": 1, "ocr": float("nan"), "caption": 1}, "share of 'ocr'"),
        ({"math": 1, "ocr": float("inf"), "caption": 1}, "share of 'ocr'"),
        ({"math": 1, "ocr": "2", "caption": 1}, "share of 'ocr'"),
        ({"math": 1, "ocr": True, "caption": 1}, "share of 'ocr'"),
        ({"math": 0, "ocr": 0, "caption": 0.0}, "every domain a share of 0"),
        ("unifrom", "not 'unifrom'"),
        (None, "not None"),
        (Coreset("sudoku"), "target 'sudoku' has no rows"),
        (Coreset("math", 0.009), "keeps no general row"),
    ],
)
def test_a_mixture_that_does_not_fit_is_refused(mixture, message):
    with pytest.raises(ValueError, match=message):
        plan(mixture, ROWS)


@pytest.mark.parametrize("fraction", [0, -0.5, float("nan"), float("inf"), "0.5", True])
def test_coreset_refuses_a_fraction_that_is_no_number_above_zero(fraction):
    with pytest.raises(ValueError, match="fraction"):
        Coreset("math", fraction)


def test_coreset_needs_a_target():
    with pytest.raises(ValueError, match="at least one target"):
        Coreset([])


def test_coreset_caps_the_general_rows_and_divides_the_cap_by_their_number():
    # 50 rows for 60 + 240: 10 and 40.
    assert plan(Coreset("math"), ROWS) == ([1, 10, 4], [10, 100, 40])


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 10_000), min_size=1, max_size=8),
    targets=st.integers(1, 8),
    fraction=st.floats(0.01, 5),
)
def test_coreset_keeps_exactly_the_cap(counts, targets, fraction):
    rows = {f"d{i}": count for i, count in enumerate(counts)}
    names = list(rows)[:targets]
    target_rows = sum(rows[name] for name in names)
    general_rows = sum(counts) - target_rows
    cap = min(general_rows, int(fraction * target_rows))
    if general_rows and not cap:
        with pytest.raises(ValueError, match="keeps no general row"):
            plan(Coreset(names, fraction), rows)
        return
    _, kept = plan(Coreset(names, fraction), rows)
    general = {name: keep for name, keep in zip(rows, kept, strict=True) if name not in names}
    assert all(keep == rows[name] for name, keep in zip(rows, kept, strict=True) if name in names)
    assert sum(general.values()) == cap
    for name, keep in general.items():
        assert keep <= rows[name]
        assert abs(keep - cap * rows[name] / general_rows) < 1


def test_coreset_replays_one_fixed_subset_in_proportion():
    domains = ["math"] * 100 + ["ocr"] * 240 + ["caption"] * 60
    sampler = ReplaySampler(domains, batch_size=15, mixture=Coreset("math"), seed=3)
    assert len(sampler) == 150
    first, second = list(sampler), list(sampler)
    assert Counter(domains[i] for i in first) == {"math": 100, "ocr": 40, "caption": 10}
    assert len(set(first)) == 150
    assert set(second) == set(first)
    assert second != first
    other = ReplaySampler(domains, batch_size=15, mixture=Coreset("math"), seed=4)
    assert set(other) != set(first)


@pytest.mark.parametrize(
    ("value", "mixture"),
    [
        ("uniform", "uniform"),
        ("proportional", "proportional"),
        ("coreset", Coreset(("math",), 0.5)),
        ("coreset:0.3", Coreset(("math",), 0.3)),
        ({"coreset": 1, "math": 2}, {"coreset": 1, "math": 2}),
    ],
)
def test_mixture_from_config(value, mixture):
    assert mixture_from_config(value, ["math"]) == mixture


@pytest.mark.parametrize("value", ["coreset:", "coreset:half", "coreset:-1", "coreset:nan", "core", "", None, 0.5])
def test_mixture_from_config_refuses_other_values(value):
    with pytest.raises(ValueError, match=r"mixture|fraction"):
        mixture_from_config(value, ["math"])


def test_descriptions_tell_mixtures_apart_and_ignore_spelling():
    assert describe({"b": 1, "a": 2}) == describe({"a": 2.0, "b": 1.0})
    assert describe({"b": 1, "a": 2}) != describe({"b": 2, "a": 1})
    assert describe(Coreset(["b", "a"])) == describe(Coreset(("a", "b"), 0.5))
    assert describe(Coreset("a", 0.25)) != describe(Coreset("a", 0.5))
