import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from recap_verl.advantage import LOSS_AGG_MODES, WEIGHT_ON, weighted_advantages

NAN = float("nan")
seeds = st.integers(0, 2**31)


def draw(seed: int, groups: int = 5, group_size: int = 4, objectives: int = 3, length: int = 6):
    """rewards of two domains (objective 0 everywhere, each other one in every second group), groups, mask."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.arange(groups).repeat_interleave(group_size)
    rewards = torch.rand(len(ids), objectives, generator=rng)
    rewards[:, 1:][(ids[:, None] + torch.arange(1, objectives)) % 2 == 0] = NAN
    lengths = torch.randint(1, length + 1, (len(ids), 1), generator=rng)
    return rewards, ids, (torch.arange(length) < lengths).long()


def verl_grpo(scores: torch.Tensor, groups, mask: torch.Tensor, normalize_std: bool) -> torch.Tensor:
    rewards = torch.zeros(mask.shape)
    rewards[:, 0] = scores
    return compute_grpo_outcome_advantage(rewards, mask, np.asarray(groups), norm_adv_by_std_in_grpo=normalize_std)[0]


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@pytest.mark.parametrize("normalize_std", [True, False])
@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@given(seed=seeds)
def test_one_objective_of_weight_one_is_verl_grpo(mode, normalize_std, weight_on, seed):
    rewards, groups, mask = draw(seed, objectives=1)
    ours = weighted_advantages(rewards, [1.0], groups, mask, mode, normalize_std, weight_on=weight_on)
    torch.testing.assert_close(ours, verl_grpo(rewards[:, 0], groups, mask, normalize_std), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("normalize_std", [True, False])
@given(seed=seeds)
def test_weights_on_rewards_are_verl_grpo_of_the_weighted_sum(normalize_std, seed):
    rewards, groups, mask = draw(seed)
    weights = [0.5, 2.0, 1.0]
    ours = weighted_advantages(
        rewards, weights, groups, mask, normalize_std=normalize_std, weight_on="reward", batch_rows=100
    )
    scores = (rewards.nan_to_num(0.0) * torch.tensor(weights)).sum(dim=1)
    torch.testing.assert_close(ours, verl_grpo(scores, groups, mask, normalize_std), rtol=2e-3, atol=1e-4)


def two_domains():
    rewards = torch.tensor([[0.0, NAN], [1.0, NAN], [1.0, NAN], [NAN, 0.2], [NAN, 0.6], [NAN, 0.9]])
    return rewards, ["math"] * 3 + ["ocr"] * 3, torch.ones(6, 2)


def test_a_factor_on_one_domain_cancels_on_rewards_but_not_on_advantages():
    rewards, groups, mask = two_domains()
    once, thrice = [1.0, 1.0], [1.0, 3.0]
    on_reward = [weighted_advantages(rewards, w, groups, mask, weight_on="reward") for w in (once, thrice)]
    torch.testing.assert_close(*on_reward, rtol=1e-4, atol=1e-5)
    on_advantage = [weighted_advantages(rewards, w, groups, mask) for w in (once, thrice)]
    torch.testing.assert_close(on_advantage[0][:3], on_advantage[1][:3])
    torch.testing.assert_close(3 * on_advantage[0][3:], on_advantage[1][3:])


def test_a_factor_on_rewards_remains_without_the_standard_deviation():
    rewards, groups, mask = two_domains()
    once, thrice = (
        weighted_advantages(rewards, w, groups, mask, normalize_std=False, weight_on="reward")
        for w in ([1.0, 1.0], [1.0, 3.0])
    )
    torch.testing.assert_close(3 * once[3:], thrice[3:])


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@given(seed=seeds)
def test_order_of_rows_and_objectives_does_not_matter(mode, weight_on, seed):
    rewards, groups, mask = draw(seed)
    weights = torch.tensor([0.3, 1.7, 1.0])
    expected = weighted_advantages(rewards, weights, groups, mask, mode, weight_on=weight_on)
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(len(rewards), generator=rng), torch.randperm(3, generator=rng)
    shuffled = weighted_advantages(
        rewards[rows][:, columns], weights[columns], groups[rows], mask[rows], mode, weight_on=weight_on
    )
    torch.testing.assert_close(shuffled, expected[rows], rtol=1e-5, atol=1e-6)


def with_rows_of_nan(rewards, groups, mask, new_mask):
    """Three rows that carry nothing; one of them shares the id of a real group."""
    return (
        torch.cat([rewards, torch.full((3, rewards.shape[1]), NAN)]),
        torch.cat([groups, torch.tensor([0, 99, 99])]),
        torch.cat([mask, torch.full((3, mask.shape[1]), new_mask)]),
    )


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_padding_rows_are_zero_and_change_nothing(mode, weight_on):
    rewards, groups, mask = draw(seed=1)
    weights = [1.0, 0.5, 1.5]
    expected = weighted_advantages(rewards, weights, groups, mask, mode, weight_on=weight_on)
    rewards, groups, mask = with_rows_of_nan(rewards, groups, mask, new_mask=0)
    padded = weighted_advantages(rewards, weights, groups, mask, mode, weight_on=weight_on)
    assert (padded[-3:] == 0).all()
    torch.testing.assert_close(padded[:-3], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("mode", "counts"), [("token-mean", "tokens"), ("seq-mean-token-mean", "rows"), ("token-sum", "nothing")]
)
def test_failed_rollouts_with_tokens_only_undo_their_part_in_the_denominator(mode, counts):
    rewards, groups, mask = draw(seed=1)
    expected = weighted_advantages(rewards, [1.0, 0.5, 1.5], groups, mask, mode)
    grown = {"tokens": 1 + 3 * mask.shape[1] / mask.sum().item(), "rows": 1 + 3 / len(mask), "nothing": 1.0}[counts]
    rewards, groups, mask = with_rows_of_nan(rewards, groups, mask, new_mask=1)
    advantages = weighted_advantages(rewards, [1.0, 0.5, 1.5], groups, mask, mode)
    assert (advantages[-3:] == 0).all()
    torch.testing.assert_close(advantages[:-3], grown * expected)


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@given(
    rows=st.lists(st.lists(st.floats(-10, 10) | st.just(NAN), min_size=3, max_size=3), min_size=1, max_size=5),
    size=st.integers(1, 33),
)
def test_groups_of_equal_rows_and_single_rows_are_exactly_zero(weight_on, rows, size):
    rewards = torch.tensor(rows, dtype=torch.float64).repeat_interleave(size, dim=0)
    groups = np.arange(len(rows)).repeat(size)
    mask = torch.ones(len(rewards), 2)
    assert (weighted_advantages(rewards, [0.1, 0.7, 2.2], groups, mask, weight_on=weight_on) == 0).all()


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_an_objective_absent_everywhere_only_counts_in_k(mode, weight_on):
    rewards, groups, mask = draw(seed=2)
    absent = torch.cat([rewards, torch.full((len(rewards), 1), NAN)], dim=1)
    ours = weighted_advantages(absent, [1.0] * 4, groups, mask, mode, weight_on=weight_on)
    without = weighted_advantages(rewards, [1.0] * 3, groups, mask, mode, weight_on=weight_on)
    torch.testing.assert_close(ours, without * (3 / 4 if weight_on == "advantage" else 1))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.bfloat16, torch.float32, torch.float64])
def test_masks_of_any_dtype_give_the_same_float32_and_are_left_alone(dtype):
    rewards, groups, mask = draw(seed=3)
    typed = mask.to(dtype)
    advantages = weighted_advantages(rewards, [1.0] * 3, groups, typed)
    assert advantages.dtype == torch.float32
    assert torch.equal(typed, mask.to(dtype))
    assert torch.equal(advantages, weighted_advantages(rewards, [1.0] * 3, groups, mask))
    assert (advantages[mask == 0] == 0).all()


def test_inputs_of_other_kinds_and_no_gradient():
    rewards, groups, mask = draw(seed=4)
    expected = weighted_advantages(rewards, [0.2, 0.8, 2.0], groups, mask)
    for weights in (np.array([0.2, 0.8, 2.0]), torch.tensor([0.2, 0.8, 2.0], dtype=torch.float64, requires_grad=True)):
        advantages = weighted_advantages(rewards.clone().requires_grad_(), weights, groups.tolist(), mask)
        assert not advantages.requires_grad
        assert torch.equal(advantages, expected)


def test_batch_of_nothing_but_padding():
    advantages = weighted_advantages(torch.full((4, 2), NAN), [1.0, 1.0], [0] * 4, torch.zeros(4, 3), batch_rows=4)
    assert torch.equal(advantages, torch.zeros(4, 3))


@pytest.mark.parametrize("weight_on", WEIGHT_ON)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_agg_mode": "sum"}, r"actor\.loss_agg_mode is 'sum': choose one of token-mean"),
        ({"rewards": torch.zeros(2)}, r"rewards must be \(batch, K\)"),
        ({"rewards": torch.zeros(3, 2)}, r"rewards have 3 rows but response_mask has 2"),
        ({"rewards": torch.tensor([[0.0, torch.inf], [0.0, 0.0]])}, r"rewards\[0, 1\] is inf"),
        ({"weights": [1.0, 1.0, 1.0]}, r"one number for each of 2 objectives, got \[1\.0, 1\.0, 1\.0\]"),
        ({"weights": [1.0, NAN]}, r"weights must be finite, got \[1\.0, nan\]"),
        ({"groups": [0]}, r"groups must hold one id for each of 2 rows"),
        ({"response_mask": torch.ones(2)}, r"response_mask must be \(batch, length\), got shape \(2,\)"),
    ],
)
def test_errors_name_the_input(weight_on, changes, message):
    arguments = {
        "rewards": torch.zeros(2, 2),
        "weights": [1.0, 1.0],
        "groups": [0, 0],
        "response_mask": torch.ones(2, 3),
        "weight_on": weight_on,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        weighted_advantages(**arguments)


def test_unknown_weight_on():
    with pytest.raises(ValueError, match=r"weight_on is 'loss': choose one of advantage, reward"):
        weighted_advantages(torch.zeros(2, 1), [1.0], [0, 0], torch.ones(2, 3), weight_on="loss")
