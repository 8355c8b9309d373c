"""What ReplaySampler draws: quotas, orders, wrap-around, epochs, resuming."""

import copy
import json
from collections import Counter
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.replay import Coreset, ReplaySampler

DOMAINS = [name for name, rows in {"math": 40, "ocr": 13, "caption": 7}.items() for _ in range(rows)]
MIXTURES = ["uniform", "proportional", {"math": 3, "ocr": 1.5, "caption": 0}, Coreset("math", 0.3)]


def draw(sampler, count):
    """The next ``count`` indices, over as many epochs as they take."""
    indices = []
    while len(indices) < count:
        indices += islice(sampler, count - len(indices))
    return indices


def batches_of(indices, batch_size):
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


@st.composite
def samplers(draw_value):
    names = "abcdef"[: draw_value(st.integers(1, 6))]
    sizes = {name: draw_value(st.integers(1, 30)) for name in names}
    domains = draw_value(st.permutations([name for name in names for _ in range(sizes[name])]))
    shares = {name: draw_value(st.integers(0, 9)) for name in names}
    shares[names[0]] += 1
    mixture = draw_value(st.sampled_from(["uniform", "proportional", shares]))
    batch_size, seed = draw_value(st.integers(1, 24)), draw_value(st.integers(0, 2**40))
    return domains, {"batch_size": batch_size, "mixture": mixture, "seed": seed}


def expected_shares(domains, mixture):
    sizes = Counter(domains)
    weights = {"uniform": dict.fromkeys(sizes, 1), "proportional": sizes}.get(str(mixture), mixture)
    return {name: weights[name] / sum(weights.values()) for name in sizes}


@settings(max_examples=60, deadline=None)
@given(samplers())
def test_every_prefix_of_batches_holds_the_shares(setting):
    domains, arguments = setting
    batch_size = arguments["batch_size"]
    sampler = ReplaySampler(domains, **arguments)
    shares = expected_shares(domains, arguments["mixture"])
    counts = Counter()
    for n, batch in enumerate(batches_of(draw(sampler, 25 * batch_size), batch_size), start=1):
        counts.update(domains[i] for i in batch)
        for name, share in shares.items():
            assert abs(counts[name] - n * batch_size * share) < 1
    assert sampler.metrics() == {f"recap/share/{name}": counts[name] / counts.total() for name in sorted(set(domains))}


@settings(max_examples=60, deadline=None)
@given(samplers())
def test_a_domain_goes_through_all_its_rows_before_any_comes_again(setting):
    domains, arguments = setting
    batch_size = arguments["batch_size"]
    drawn = batches_of(draw(ReplaySampler(domains, **arguments), 25 * batch_size), batch_size)
    for name, size in Counter(domains).items():
        seen = Counter()
        for batch in drawn:
            seen.update(i for i in batch if domains[i] == name)
            # Rows are shuffled inside a batch, so passes are told apart at its end.
            passes, rest = divmod(seen.total(), size)
            assert sum(count > passes for count in seen.values()) == rest
            assert set(seen.values()) <= {passes, passes + 1}
            assert passes == 0 or len(seen) == size


@settings(max_examples=60, deadline=None)
@given(samplers(), st.integers(0, 200), st.sampled_from(["reshuffle", "stop"]))
def test_resumes_to_the_very_next_index(setting, consumed, exhaust):
    domains, arguments = setting
    try:
        sampler = ReplaySampler(domains, **arguments, exhaust=exhaust)
    except ValueError as error:
        assert "exhaust='stop'" in str(error)
        return
    draw(sampler, consumed)
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = ReplaySampler(domains, **arguments, exhaust=exhaust)
    draw(resumed, 7)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert resumed.metrics() == sampler.metrics()
    assert draw(resumed, 100) == draw(sampler, 100)
    assert resumed.state_dict() == sampler.state_dict()


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("exhaust", ["reshuffle", "stop"])
def test_iterators_and_their_states_agree_on_where_an_epoch_ends(mixture, exhaust):
    def new():
        return ReplaySampler(DOMAINS, batch_size=4, mixture=mixture, exhaust=exhaust)

    sampler, epochs, states = new(), [], []
    for _ in range(3):
        epoch = []
        for index in sampler:
            epoch.append(index)
            states.append((len(epochs), len(epoch), sampler.state_dict()))
        assert len(epoch) == len(sampler)
        epochs.append(epoch)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    for number, consumed, state in states:
        resumed = new()
        resumed.load_state_dict(state)
        assert list(resumed) == epochs[number][consumed:]
        if number < 2:
            assert list(resumed) == epochs[number + 1]


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    first, same, other = (draw(ReplaySampler(DOMAINS, 8, seed=seed), 80) for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_all_forms_of_the_column_give_the_same_rows():
    column = pa.chunked_array([pa.array(DOMAINS[:31]).dictionary_encode(), pa.array(DOMAINS[31:]).dictionary_encode()])
    states = [ReplaySampler(form, 8).state_dict() for form in (DOMAINS, np.array(DOMAINS), column)]
    assert states[0] == states[1] == states[2]
    assert draw(ReplaySampler(DOMAINS, 8), 99) == draw(ReplaySampler(column, 8), 99)


def test_indices_are_python_ints():
    assert {type(index) for index in ReplaySampler(DOMAINS, 4)} == {int}


def test_no_domain_always_comes_first_in_a_batch():
    first = Counter(DOMAINS[batch[0]] for batch in batches_of(draw(ReplaySampler(DOMAINS, 6), 6 * 300), 6))
    assert all(70 < first[name] < 130 for name in ("math", "ocr", "caption"))


def test_a_domain_smaller_than_its_quota_goes_through_several_passes_in_a_batch():
    domains = ["tiny"] * 2 + ["big"] * 50
    batch = draw(ReplaySampler(domains, batch_size=14), 14)
    assert Counter(batch)[0] + Counter(batch)[1] == 7
    assert abs(Counter(batch)[0] - Counter(batch)[1]) == 1


def test_one_domain_only():
    sampler = ReplaySampler(["math"] * 10, batch_size=4)
    assert len(sampler) == 8
    assert sorted(draw(sampler, 20)) == sorted([*range(10), *range(10)])


def test_every_pass_over_a_domain_has_an_order_of_its_own():
    passes = batches_of(draw(ReplaySampler(["math"] * 10, batch_size=1), 50), 10)
    assert all(sorted(one_pass) == list(range(10)) for one_pass in passes)
    assert len({tuple(one_pass) for one_pass in passes}) == 5


def test_a_share_of_zero_leaves_a_domain_out_of_batches_and_length():
    sampler = ReplaySampler(DOMAINS, 4, mixture={"math": 1, "ocr": 1, "caption": 0})
    assert len(sampler) == (40 + 13) // 4 * 4
    assert "caption" not in {DOMAINS[i] for i in draw(sampler, 400)}
    assert sampler.metrics() == {"recap/share/caption": 0.0, "recap/share/math": 0.5, "recap/share/ocr": 0.5}


def test_a_data_set_smaller_than_a_batch_makes_epochs_of_one_batch():
    sampler = ReplaySampler(["math", "ocr"], batch_size=6)
    assert len(sampler) == 6
    assert sorted(sampler) == [0, 0, 0, 1, 1, 1]


def test_reshuffle_goes_on_with_the_running_pass_in_the_next_epoch():
    domains = ["math"] * 10 + ["ocr"] * 5
    sampler = ReplaySampler(domains, batch_size=4, mixture={"math": 1, "ocr": 1})
    epochs = [list(sampler) for _ in range(5)]
    # Three batches an epoch: six rows of each domain, so five epochs are three passes of math and six of ocr.
    assert Counter(i for epoch in epochs for i in epoch) == {
        **dict.fromkeys(range(10), 3),
        **dict.fromkeys(range(10, 15), 6),
    }


def test_a_new_iterator_goes_on_where_the_last_was_left():
    whole, left = ReplaySampler(DOMAINS, 4), ReplaySampler(DOMAINS, 4)
    assert list(islice(left, 10)) + list(left) == list(whole)


def test_a_finished_iterator_stays_finished():
    sampler = ReplaySampler(DOMAINS, 4)
    iterator = iter(sampler)
    assert len(list(iterator)) == len(sampler)
    assert list(iterator) == []
    assert len(list(sampler)) == len(sampler)


def test_an_iterator_never_used_changes_nothing():
    sampler = ReplaySampler(DOMAINS, 4)
    state = sampler.state_dict()
    iter(sampler)
    assert sampler.state_dict() == state


def test_metrics_are_empty_before_anything_is_drawn():
    assert ReplaySampler(DOMAINS, 4).metrics() == {}


def test_stop_ends_when_the_smallest_domain_is_used_up_and_starts_over_in_a_new_order():
    sampler = ReplaySampler(DOMAINS, batch_size=6, exhaust="stop")
    # Two of seven caption rows a batch: three batches.
    assert len(sampler) == 18
    epochs = [list(sampler) for _ in range(3)]
    for epoch in epochs:
        assert Counter(DOMAINS[i] for i in epoch) == {"math": 6, "ocr": 6, "caption": 6}
        assert len(set(epoch)) == 18
    # Six of forty math rows an epoch: in a new order they are other rows.
    assert len({frozenset(i for i in epoch if DOMAINS[i] == "math") for epoch in epochs}) == 3
    assert sampler.metrics() == {"recap/share/caption": 1 / 3, "recap/share/math": 1 / 3, "recap/share/ocr": 1 / 3}


@settings(max_examples=60, deadline=None)
@given(samplers())
def test_stop_repeats_no_row_and_leaves_the_first_domain_less_than_its_next_share(setting):
    domains, arguments = setting
    sizes, shares = Counter(domains), expected_shares(domains, arguments["mixture"])
    batch_size = arguments["batch_size"]
    short = [name for name in sizes if sizes[name] < batch_size * shares[name] - 1e-9]
    if short:
        with pytest.raises(ValueError, match=rf"exhaust='stop'.*'[{''.join(short)}]' has \d+ rows"):
            ReplaySampler(domains, **arguments, exhaust="stop")
        return
    sampler = ReplaySampler(domains, **arguments, exhaust="stop")
    for _ in range(3):
        epoch = list(sampler)
        assert len(epoch) == len(sampler) == len(set(epoch)) > 0
        batches = len(epoch) // batch_size
        assert any((batches + 1) * batch_size * shares[name] > sizes[name] + 1e-9 for name in sizes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 2**20 + 1}, ValueError, "batch_size"),
        ({"batch_size": 4.0}, TypeError, "batch_size"),
        ({"batch_size": True}, TypeError, "batch_size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": "0"}, TypeError, "seed"),
        ({"exhaust": "cycle"}, ValueError, "'reshuffle' or 'stop', not 'cycle'"),
        ({"mixture": {"math": 1, "ocr": 1}}, ValueError, "'caption'"),
        ({"batch_size": 24, "exhaust": "stop"}, ValueError, "'caption' has 7 rows for 8 a batch"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ReplaySampler(DOMAINS, **{"batch_size": 4, **arguments})


def without(key):
    return lambda state: state.pop(key)


def put(key, value):
    return lambda state: state.__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("offset"), r"missing \['offset'\]"),
        (put("weights", 1), r"unknown \['weights'\]"),
        (put("seed", 9), "seed was 9 and is 0"),
        (put("batch_size", 8), "batch_size was 8 and is 4"),
        (put("mixture", "proportional"), "mixture was 'proportional' and is 'uniform'"),
        (put("exhaust", "stop"), "exhaust was 'stop' and is 'reshuffle'"),
        (put("rows", {"math": 40, "ocr": 12, "caption": 7}), "domain 'ocr' had 12 rows and has 13"),
        (put("rows", {"math": 40, "ocr": 13, "box": 7}), "'box' had 7 rows and has 0; domain 'caption' had 0"),
        (put("rows", 60), "rows must map"),
        (put("digest", "00"), "in another order"),
        (put("epoch", -1), "epoch must be an int"),
        (put("epoch", 1.0), "epoch must be an int"),
        (put("epoch", 5), "batches must be an int, 75 to 90"),
        (put("batches", 16), "batches must be an int, 0 to 15"),
        (put("batches", 3), "taken must hold 3 counts with the sum 12"),
        (put("offset", 4), "offset must be an int, 0 to 3"),
        (put("offset", None), "offset must be an int"),
        (put("taken", [3, 2, 3, 0]), "taken must hold 3 counts"),
        (put("taken", 8), "taken must hold 3 counts"),
        (put("taken", [8, 0, 0]), "taken does not follow from 2 batches"),
        (put("drawn", [3, 2, 4]), "drawn must hold 3 counts with the sum 8"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused_and_changes_nothing(damage, message):
    sampler = ReplaySampler(DOMAINS, 4)
    draw(sampler, 10)
    before = sampler.state_dict()
    state = copy.deepcopy(before)
    damage(state)
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict(state)
    assert sampler.state_dict() == before


def test_a_state_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match="must be a dict, not list"):
        ReplaySampler(DOMAINS, 4).load_state_dict([])


def test_a_state_of_the_same_rows_in_another_order_is_refused():
    with pytest.raises(ValueError, match="in another order"):
        ReplaySampler(DOMAINS, 4).load_state_dict(ReplaySampler(DOMAINS[::-1], 4).state_dict())


def test_a_state_is_a_copy():
    sampler = ReplaySampler(DOMAINS, 4)
    state = sampler.state_dict()
    state["rows"]["math"] = state["taken"][0] = state["drawn"][0] = 99
    assert ReplaySampler(DOMAINS, 4).state_dict() == sampler.state_dict()
