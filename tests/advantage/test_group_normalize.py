import uuid

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from recap_verl.advantage import group_normalize

NAN = float("nan")
# What float32 holds exactly, as verl carries rewards, and what only float64 does.
REWARDS = st.floats(-1e6, 1e6) | st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.1, 1 / 3, 0.0, 1.0])


def verl_scores(rewards: torch.Tensor, groups, normalize_std: bool) -> torch.Tensor:
    """verl's GRPO scalar per row."""
    index = np.asarray(groups)
    scores, _ = compute_grpo_outcome_advantage(
        rewards[:, None].clone(), torch.ones(len(rewards), 1), index, norm_adv_by_std_in_grpo=normalize_std
    )
    return scores[:, 0]


@pytest.mark.parametrize("normalize_std", [True, False])
@given(seed=st.integers(0, 2**31), sizes=st.lists(st.integers(2, 6), min_size=1, max_size=5), k=st.integers(1, 3))
def test_each_objective_equals_verl_grpo_on_groups_of_two_or_more(normalize_std, seed, sizes, k):
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    order = torch.randperm(len(groups), generator=generator)
    groups = groups[order]
    rewards = torch.rand(len(groups), k, generator=generator)
    ours = group_normalize(rewards, groups, normalize_std)
    theirs = torch.stack([verl_scores(rewards[:, j], groups, normalize_std) for j in range(k)], dim=1)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-4)


def test_nan_takes_no_part_and_stays():
    rewards = torch.tensor([[1.0, NAN], [NAN, 5.0], [3.0, 7.0], [NAN, NAN]])
    normalised = group_normalize(rewards, [0, 0, 0, 0], normalize_std=False)
    expected = torch.tensor([[-1.0, NAN], [NAN, -1.0], [1.0, 1.0], [NAN, NAN]])
    torch.testing.assert_close(normalised, expected, equal_nan=True)


@given(st.lists(st.tuples(REWARDS, st.integers(1, 40)), min_size=1, max_size=4))
def test_groups_of_equal_rewards_are_exactly_zero(groups):
    rewards = torch.tensor([reward for reward, size in groups for _ in range(size)], dtype=torch.float64)
    ids = [group for group, (_, size) in enumerate(groups) for _ in range(size)]
    assert (group_normalize(rewards[:, None], ids) == 0).all()


def test_one_row_alone_gives_zero_where_verl_keeps_the_score():
    rewards = torch.tensor([[0.7, 0.2], [NAN, 0.4], [0.9, NAN]])
    normalised = group_normalize(rewards, ["a", "a", "b"])
    assert normalised[0, 0] == 0
    assert normalised[2, 0] == 0
    assert normalised[0, 1] == -normalised[1, 1] != 0
    assert verl_scores(torch.tensor([0.7]), ["a"], True).item() == pytest.approx(0.7)


def test_the_kind_of_group_id_does_not_matter():
    rewards = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    codes = [2, 0, 2, 1, 0, 1]
    names = [uuid.uuid4() for _ in range(3)]
    expected = group_normalize(rewards, torch.tensor(codes))
    for groups in (
        codes,
        np.array(codes),
        [str(names[c]) for c in codes],
        [names[c] for c in codes],
        np.array([str(names[c]) for c in codes]),
        np.array([str(names[c]) for c in codes], dtype=object),
    ):
        assert torch.equal(group_normalize(rewards, groups), expected)


def test_large_offsets_keep_small_differences():
    rewards = torch.tensor([[1e9], [1e9 + 1], [1e9 + 2]], dtype=torch.float64)
    torch.testing.assert_close(group_normalize(rewards, [0, 0, 0]), torch.tensor([[-1.0], [0.0], [1.0]]))


def test_empty_batch():
    assert group_normalize(torch.empty(0, 3), []).shape == (0, 3)


@pytest.mark.parametrize(
    ("rewards", "groups", "message"),
    [
        (torch.zeros(3), [0, 0, 0], r"rewards must be \(batch, K\).*got shape \(3,\)"),
        (torch.zeros(3, 0), [0, 0, 0], r"at least one objective"),
        (torch.tensor([[0.0, 1.0], [0.0, -torch.inf]]), [0, 0], r"rewards\[1, 1\] is -inf: give a finite reward"),
        (torch.zeros(3, 1), [0, 0], r"groups must hold one id for each of 3 rows, got shape \(2,\)"),
        (torch.zeros(2, 1), [[0], [0]], r"groups must hold one id for each of 2 rows, got shape \(2, 1\)"),
        (torch.zeros(2, 1), ["a", None], r"groups\[1\] is missing: give every row a group id"),
    ],
)
def test_errors_name_the_input(rewards, groups, message):
    with pytest.raises(ValueError, match=message):
        group_normalize(rewards, groups)
