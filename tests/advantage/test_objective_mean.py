"""verl's own aggregation of -advantage * ratio is (1/K) sum_k weight_k * L_k, in every mode."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import agg_loss

from recap_verl.advantage import (
    LOSS_AGG_MODES,
    SEQ_MEAN_MODES,
    group_normalize,
    objective_factors,
    weighted_advantages,
)

GROUP_SIZE = 4


@dataclass
class Batch:
    rewards: torch.Tensor
    weights: torch.Tensor
    groups: torch.Tensor
    response_mask: torch.Tensor
    ratio: torch.Tensor

    @classmethod
    def draw(cls, seed: int, groups: int, objectives: int, length: int, padding: int) -> "Batch":
        """Ragged masks (rows without tokens too), objectives of whole groups, single NaN, padding rows, shuffled."""
        rng = torch.Generator().manual_seed(seed)
        real = groups * GROUP_SIZE
        ids = torch.arange(groups).repeat_interleave(GROUP_SIZE)
        rewards = torch.rand(real, objectives, generator=rng)
        carried = torch.rand(groups, objectives, generator=rng)[ids] < 0.6
        rewards[~carried | (torch.rand(real, objectives, generator=rng) < 0.1)] = torch.nan
        mask = torch.rand(real, length, generator=rng) < torch.rand(real, 1, generator=rng)
        mask[torch.rand(real, generator=rng) < 0.1] = False
        mask[0, 0] = True
        rows = real + padding
        batch = cls(
            rewards=torch.cat([rewards, torch.full((padding, objectives), torch.nan)]),
            weights=3 * torch.rand(objectives, generator=rng),
            groups=torch.cat([ids, torch.full((padding,), groups)]),
            response_mask=torch.cat([mask, torch.zeros(padding, length, dtype=torch.bool)]).long(),
            ratio=0.5 + torch.rand(rows, length, generator=rng),
        )
        return batch.take(torch.randperm(rows, generator=rng))

    def take(self, rows: torch.Tensor) -> "Batch":
        return Batch(self.rewards[rows], self.weights, self.groups[rows], self.response_mask[rows], self.ratio[rows])

    def advantages(self, mode: str, batch_rows: int | None = None, **options) -> torch.Tensor:
        return weighted_advantages(
            self.rewards, self.weights, self.groups, self.response_mask, mode, batch_rows=batch_rows, **options
        )

    def objective(self, mode: str, normalize_std: bool = True) -> torch.Tensor:
        """The right-hand side, term by term: each L_k is verl's aggregation of the rows that carry k alone."""
        normalised = group_normalize(self.rewards, self.groups, normalize_std)
        total = torch.zeros(())
        for k, weight in enumerate(self.weights):
            rows = ~self.rewards[:, k].isnan()
            if self.response_mask[rows].any():
                loss = -normalised[rows, k : k + 1] * self.ratio[rows]
                total += weight * agg_loss(loss, self.response_mask[rows], mode)
        return total / len(self.weights)


batches = st.builds(
    Batch.draw,
    seed=st.integers(0, 2**31),
    groups=st.integers(1, 6),
    objectives=st.integers(1, 4),
    length=st.integers(1, 9),
    padding=st.integers(0, 5),
)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize_std", [True, False])
@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@given(batch=batches)
def test_one_device(mode, normalize_std, batch):
    loss = -batch.advantages(mode, normalize_std=normalize_std) * batch.ratio
    assert_same(agg_loss(loss, batch.response_mask, mode), batch.objective(mode, normalize_std))


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@given(batch=batches)
def test_dividing_by_the_padded_batch_over_two_ranks(mode, batch):
    """As verl's actor does: global sizes given, each rank scaled by dp_size, gradients averaged over ranks."""
    rows = len(batch.rewards)
    loss = -batch.advantages(mode, batch_rows=rows) * batch.ratio
    sizes = {"dp_size": 2, "batch_num_tokens": int(batch.response_mask.sum()), "global_batch_size": rows}
    ranks = [
        agg_loss(loss[part], batch.response_mask[part], mode, **sizes)
        for part in (slice(0, rows // 2), slice(rows // 2, None))
    ]
    assert_same(sum(ranks) / 2, batch.objective(mode))


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@given(batch=batches)
def test_without_objective_mean_it_is_the_plain_weighted_sum(mode, batch):
    normalised = group_normalize(batch.rewards, batch.groups).nan_to_num(0.0)
    expected = (normalised * batch.weights).sum(dim=1, keepdim=True) * batch.response_mask
    assert_same(batch.advantages(mode, objective_mean=False), expected)


MINI_BATCHES = 3


def mini_batch_losses(batch: Batch, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and token count of each of equally large mini-batches, as verl's actor would see them."""
    loss = -batch.advantages(mode, batch_rows=len(batch.rewards)) * batch.ratio
    masks = batch.response_mask.chunk(MINI_BATCHES)
    losses = [
        agg_loss(part, mask, mode, batch_num_tokens=max(int(mask.sum()), 1), global_batch_size=len(mask))
        for part, mask in zip(loss.chunk(MINI_BATCHES), masks, strict=True)
    ]
    return torch.stack(losses), torch.stack([mask.sum() for mask in masks])


def divisible(seed: int) -> Batch:
    return Batch.draw(seed, groups=5, objectives=3, length=7, padding=4)


@pytest.mark.parametrize("mode", SEQ_MEAN_MODES)
@given(seed=st.integers(0, 2**31))
def test_mean_over_mini_batches_is_the_whole_objective_for_seq_mean(mode, seed):
    batch = divisible(seed)
    losses, _ = mini_batch_losses(batch, mode)
    assert_same(losses.mean(), batch.objective(mode))


@given(seed=st.integers(0, 2**31))
def test_token_mean_mini_batches_give_the_objective_once_weighted_by_their_tokens(seed):
    batch = divisible(seed)
    losses, tokens = mini_batch_losses(batch, "token-mean")
    assert_same((losses * tokens / tokens.sum()).sum(), batch.objective("token-mean"))


@given(seed=st.integers(0, 2**31))
def test_token_mean_mini_batches_of_equal_tokens_need_no_weighting(seed):
    batch = divisible(seed)
    batch.response_mask = torch.tensor([1, 0, 1, 1, 0, 1, 0]).expand(len(batch.rewards), -1)
    losses, _ = mini_batch_losses(batch, "token-mean")
    assert_same(losses.mean(), batch.objective("token-mean"))


def test_token_mean_mini_batches_of_unequal_tokens_deviate():
    batch = divisible(seed=0)
    losses, tokens = mini_batch_losses(batch, "token-mean")
    assert tokens.min() < tokens.max()
    assert (losses.mean() - batch.objective("token-mean")).abs() > 1e-3


APPLIES = torch.tensor([[True, False], [True, True], [False, True], [False, True], [False, False]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("mode", "batch_rows", "expected"),
    [
        ("token-mean", None, [1.0 * 6 / 4 / 2, 3.0 * 6 / 3 / 2]),
        ("token-mean", 5, [1.0 * 6 / 4 / 2, 3.0 * 6 / 3 / 2]),
        ("token-sum", None, [1.0 / 2, 3.0 / 2]),
        ("seq-mean-token-sum", None, [1.0 * 3 / 2 / 2, 3.0 * 3 / 2 / 2]),
        ("seq-mean-token-sum-norm", 5, [1.0 * 5 / 2 / 2, 3.0 * 5 / 2 / 2]),
        ("seq-mean-token-mean", 5, [1.0 * 5 / 2 / 2, 3.0 * 5 / 2 / 2]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32, torch.bfloat16])
def test_factors_by_hand(mode, batch_rows, expected, dtype):
    factors = objective_factors(APPLIES, [1.0, 3.0], MASK.to(dtype), mode, batch_rows=batch_rows)
    assert factors.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_an_objective_without_tokens_gets_factor_zero_and_still_counts_in_k(mode):
    applies = torch.tensor([[True, False, False], [False, False, True]])
    mask = torch.tensor([[1, 1], [0, 0]])
    factors = objective_factors(applies, [1.0, 1.0, 1.0], mask, mode)
    assert factors.tolist() == pytest.approx([1 / 3, 0.0, 0.0])


def test_token_counts_of_half_precision_masks_are_exact():
    mask = torch.ones(2, 1003, dtype=torch.bfloat16)  # odd: not a bfloat16 number
    mask[1, 1:] = 0
    applies = torch.tensor([[True, False], [False, True]])
    factors = objective_factors(applies, [2.0, 2.0], mask, "token-mean")
    assert factors.tolist() == pytest.approx([1004 / 1003, 1004.0], rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_agg_mode": "mean"}, r"actor\.loss_agg_mode is 'mean': choose one of token-mean, token-sum, seq-mean"),
        ({"loss_agg_mode": "mean", "objective_mean": False}, r"actor\.loss_agg_mode is 'mean'"),
        ({"applies": APPLIES[:2]}, r"same batch, got \(2, 2\) and \(5, 3\)"),
        ({"weights": [1.0]}, r"one number for each of 2 objectives, got \[1\.0\]"),
        ({"weights": [1.0, torch.inf]}, r"weights must be finite, got \[1\.0, inf\]"),
        ({"batch_rows": 2}, r"batch_rows is 2 but 3 rows have tokens"),
    ],
)
def test_errors_name_the_input(changes, message):
    arguments = {
        "applies": APPLIES,
        "weights": [1.0, 1.0],
        "response_mask": MASK,
        "loss_agg_mode": "seq-mean-token-sum",
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        objective_factors(**arguments)
