"""Shares that change: counts still follow them to the row, and a state holds all it takes to go on."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.replay import FollowingSampler, ReplaySampler
from recap_verl.replay.following import UNIT, changing_quota

ROWS = ["a"] * 30 + ["b"] * 7 + ["c"] * 50
FACTORS = st.fixed_dictionaries({name: st.floats(1e-3, 1e3) for name in "abc"})


def next_batch(sampler: FollowingSampler, size: int) -> list[int]:
    indices = []
    while len(indices) < size:
        iterator = iter(sampler)
        for index in iterator:
            indices.append(index)
            if len(indices) == size:
                break
    return indices


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.lists(FACTORS, min_size=1, max_size=30))
def test_counts_follow_the_sum_of_the_shares(batch_size, steps):
    sampler = FollowingSampler(ROWS, batch_size, {"a": 2, "b": 1, "c": 1}, seed=3)
    taken, expected = Counter(), dict.fromkeys("abc", 0.0)
    for factors in steps:
        sampler.follow(factors)
        shares = {name: base * factors[name] for name, base in zip("abc", (0.5, 0.25, 0.25), strict=True)}
        for name, share in shares.items():
            expected[name] += batch_size * share / sum(shares.values())
        taken.update(ROWS[index] for index in next_batch(sampler, batch_size))
    assert taken.total() == batch_size * len(steps)
    for name, count in expected.items():
        assert abs(taken[name] - count) < 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), min_size=4, max_size=4), min_size=1, max_size=50), st.integers(1, 9))
def test_a_quota_is_always_a_whole_batch(steps, batch_size):
    owed = np.zeros(4, dtype=np.int64)
    for step in steps:
        parts = np.array(step, dtype=np.int64)
        shares = parts * UNIT // max(1, parts.sum())
        shares[shares.argmax()] += UNIT - shares.sum()
        quota, owed = changing_quota(shares, owed, batch_size)
        assert quota.sum() == batch_size and (quota >= 0).all() and owed.sum() == 0
        assert (np.abs(owed) < 2 * UNIT).all()


def test_without_factors_it_draws_the_mixture():
    sampler = FollowingSampler(ROWS, 8, {"a": 2, "b": 1, "c": 1})
    for _ in range(5):
        assert Counter(ROWS[index] for index in next_batch(sampler, 8)) == {"a": 4, "b": 2, "c": 2}
    sampler.follow({"b": 3.0})
    assert Counter(ROWS[index] for index in next_batch(sampler, 6)[:6]).total() == 6


def test_a_factor_raises_its_domains_share():
    sampler = FollowingSampler(ROWS, 12, seed=1)
    sampler.follow({"a": 4.0, "b": 1.0, "c": 1.0})
    assert Counter(ROWS[index] for index in next_batch(sampler, 12)) == {"a": 8, "b": 2, "c": 2}


@settings(max_examples=100, deadline=None)
@given(st.lists(FACTORS, min_size=2, max_size=12), st.integers(0, 80), st.integers(1, 11))
def test_resumes_to_the_very_next_index(steps, consumed, batch_size):
    """Wherever a state is taken, in a batch or between two, with new shares set or not yet."""
    straight, kept = FollowingSampler(ROWS, batch_size, seed=5), None
    drawn = []
    for number, factors in enumerate(steps):
        for index in next_batch(straight, batch_size):
            drawn.append(index)
        straight.follow(factors)
        if len(drawn) >= consumed and kept is None:
            kept = number, json.loads(json.dumps(straight.state_dict()))
    if kept is None:
        return
    number, state = kept
    resumed = FollowingSampler(ROWS, batch_size, seed=5)
    resumed.load_state_dict(state)
    again = []
    for factors in steps[number + 1 :]:
        again += next_batch(resumed, batch_size)
        resumed.follow(factors)
    assert again == drawn[(number + 1) * batch_size :]
    assert resumed.state_dict() == straight.state_dict()


def test_a_state_within_a_batch_keeps_that_batch():
    straight, resumed = FollowingSampler(ROWS, 9, seed=5), FollowingSampler(ROWS, 9, seed=5)
    iterator = iter(straight)
    for _ in range(4):
        next(iterator)
    straight.follow({"a": 50.0})
    resumed.load_state_dict(straight.state_dict())
    assert [next(iterator) for _ in range(5)] == next_batch(resumed, 5)
    assert next_batch(straight, 9) == next_batch(resumed, 9)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_a_factor_that_is_no_number_from_0_on_is_refused(factor):
    sampler = FollowingSampler(ROWS, 9)
    before = sampler.state_dict()
    with pytest.raises(ValueError, match="factor of domain 'b' must be a finite number >= 0"):
        sampler.follow({"b": factor})
    assert sampler.state_dict() == before


def test_weights_that_underflow_leave_a_share():
    sampler = FollowingSampler(ROWS, 12)
    sampler.follow({"a": 0.0, "b": 1e-300, "c": 1.0})
    assert min(sampler.state_dict()["next_shares"]) >= 1
    assert Counter(ROWS[index] for index in next_batch(sampler, 12)) == {"c": 12}
    sampler.follow(dict.fromkeys("abc", 0.0))
    assert Counter(ROWS[index] for index in next_batch(sampler, 12)) == {"a": 4, "b": 4, "c": 4}


def test_states_of_the_other_kind_of_sampler_are_refused():
    following, fixed = FollowingSampler(ROWS, 9), ReplaySampler(ROWS, 9)
    with pytest.raises(ValueError, match=r"saved with recap\.mixture_follows_weights=false; resume with that"):
        following.load_state_dict(fixed.state_dict())
    with pytest.raises(ValueError, match=r"saved with recap\.mixture_follows_weights=true; resume with that"):
        fixed.load_state_dict(following.state_dict())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"owed": [1, 0, 0]}, "owed must hold 3 integers with the sum 0"),
        ({"owed": None}, "owed must hold 3 integers"),
        ({"shares": [UNIT, 0]}, "shares must hold 3 counts"),
        ({"seed": 6}, "seed was 6 and is 5"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage, message):
    sampler = FollowingSampler(ROWS, 9, seed=5)
    sampler.follow({"c": 2.0})
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict({**before, **damage})
    assert sampler.state_dict() == before
