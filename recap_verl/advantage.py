"""Weighted, per-objective group-normalised advantages.

RECAP minimises `(1/K) * sum_k lambda_k * L_k` (arXiv 2510.21978), where L_k averages over the rows that carry
objective k. verl takes one advantage per token and aggregates all rows together, so the weights and the number of
rows (or tokens) behind each objective have to be folded into that advantage: `objective_factors` does so.

Normalisation and factors are those of the WHOLE batch of a step, computed once, before verl cuts the batch into
mini-batches. For the seq-mean modes the mean over equally large mini-batches is then the objective exactly. For
"token-mean" every mini-batch divides by its own tokens, so a mini-batch with fewer tokens counts slightly more per
token, as it does in plain verl.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

SEQ_MEAN_MODES = ("seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")
LOSS_AGG_MODES = ("token-mean", "token-sum", *SEQ_MEAN_MODES)
WEIGHT_ON = ("advantage", "reward")

Groups = Sequence | np.ndarray | Tensor
Weights = Sequence[float] | np.ndarray | Tensor


@torch.no_grad()
def group_normalize(rewards: Tensor, groups: Groups, normalize_std: bool = True, epsilon: float = 1e-6) -> Tensor:
    """Normalise every objective within every group: `(r - mean) / (std + epsilon)`, std unbiased.

    This is `compute_grpo_outcome_advantage` of verl 0.9.1 (trainer/ppo/core_algos.py) per objective, with one
    difference: a group in which only one row carries an objective gives 0, where verl would keep the raw score.
    A group whose rewards are all equal gives exactly 0.

    Args:
        rewards: (batch, K); NaN where an objective does not apply: it takes no part and stays NaN.
        groups: (batch,) group ids (verl's `uid`): a list, a numpy array or an integer tensor.
        normalize_std: False only subtracts the mean (Dr. GRPO, arXiv 2503.20783).
        epsilon: added to the standard deviation.

    Returns:
        (batch, K) float32.

    Raises:
        ValueError: a wrong shape, an infinite reward, a missing group id.
    """
    values = _checked_rewards(rewards)
    codes, group_count = _group_codes(groups, values)
    applies = ~values.isnan()

    def group_sum(x: Tensor) -> Tensor:
        return x.new_zeros(group_count, x.shape[1]).index_add_(0, codes, x)

    # Measured from the group's lowest reward, equal rewards and single rows come out as exactly 0: a mean of equal
    # numbers is only equal to them up to rounding, and dividing by std + 1e-6 would blow that rounding up.
    lowest = values.new_full((group_count, values.shape[1]), torch.inf)
    lowest = lowest.scatter_reduce_(0, codes[:, None].expand_as(values), values.nan_to_num(torch.inf), "amin")
    above = (values - lowest[codes]).nan_to_num(0.0)

    count = group_sum(applies.double())
    mean = group_sum(above) / count.clamp(min=1)
    deviation = torch.where(applies, above - mean[codes], 0.0)
    if normalize_std:
        std = (group_sum(deviation.square()) / (count - 1).clamp(min=1)).sqrt()
        deviation = deviation / (std[codes] + epsilon)
    return deviation.masked_fill(~applies, torch.nan).float()


@torch.no_grad()
def objective_factors(
    applies: Tensor,
    weights: Weights,
    response_mask: Tensor,
    loss_agg_mode: str,
    objective_mean: bool = True,
    batch_rows: int | None = None,
) -> Tensor:
    """Factors f such that verl's aggregation of the advantage `sum_k f_k * A_k` is `(1/K) * sum_k weight_k * L_k`.

    L_k is the aggregation `loss_agg_mode` over the rows that carry objective k alone, as `agg_loss` of verl 0.9.1
    (trainer/ppo/core_algos.py) would compute it for them.

    Args:
        applies: (batch, K) bool, True where a row carries an objective.
        weights: (K,) one weight per objective.
        response_mask: (batch, length) of 0 and 1, any dtype.
        loss_agg_mode: the value of verl's `actor.loss_agg_mode`, one of `LOSS_AGG_MODES`.
        objective_mean: False returns the weights themselves: a plain weighted sum of advantages, in which an
            objective counts by the rows that carry it.
        batch_rows: rows by which verl divides in the seq-mean modes, synthetic padding rows included (verl's actor
            uses the configured mini-batch size). None: the rows that have tokens. The other modes ignore it.

    Returns:
        (K,) float64; 0 for an objective that no row with tokens carries.

    Raises:
        ValueError: an unknown mode, a wrong shape, weights that are not finite, batch_rows below the rows present.
    """
    _check_choice("actor.loss_agg_mode", loss_agg_mode, LOSS_AGG_MODES)
    if applies.ndim != 2 or response_mask.ndim != 2 or len(applies) != len(response_mask):
        raise ValueError(
            f"applies must be (batch, K) and response_mask (batch, length) with the same batch, "
            f"got {tuple(applies.shape)} and {tuple(response_mask.shape)}."
        )
    objectives = applies.shape[1]
    weights = _checked_weights(weights, objectives, applies.device)
    if not objective_mean:
        return weights

    tokens = response_mask.sum(dim=1, dtype=torch.float32).double()
    # A row with no token is no row to agg_loss either.
    size = (tokens > 0).double() if loss_agg_mode in SEQ_MEAN_MODES else tokens
    size_of_objective = size @ applies.double()
    if loss_agg_mode == "token-sum":
        size_of_batch = size_of_objective  # a sum divides by nothing, so nothing is to be undone
    elif loss_agg_mode in SEQ_MEAN_MODES and batch_rows is not None:
        size_of_batch = _checked_batch_rows(batch_rows, size)
    else:
        size_of_batch = size.sum()
    rescale = torch.where(size_of_objective > 0, size_of_batch / size_of_objective, 0.0)
    return weights * rescale / objectives


@torch.no_grad()
def weighted_advantages(
    rewards: Tensor,
    weights: Weights,
    groups: Groups,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    normalize_std: bool = True,
    objective_mean: bool = True,
    weight_on: str = "advantage",
    batch_rows: int | None = None,
) -> Tensor:
    """Advantages of several weighted objectives, ready for any of verl's policy losses.

    Args:
        rewards: (batch, K); NaN where an objective does not apply. A row of NaN alone (padding, a failed rollout)
            gets advantage 0 and changes nothing for the others.
        weights: (K,) one weight per objective, RECAP's lambda.
        groups: (batch,) group ids (verl's `uid`): a list, a numpy array or an integer tensor.
        response_mask: (batch, length) of 0 and 1, any dtype. Its device is that of the result.
        loss_agg_mode: the value of verl's `actor.loss_agg_mode`, one of `LOSS_AGG_MODES`.
        normalize_std: divide by the group's standard deviation, see `group_normalize`.
        objective_mean: average over the rows of each objective, see `objective_factors`.
        weight_on: "advantage" weights each objective after its own normalisation, as the paper's equation asks.
            "reward" sums the weighted rewards and normalises once, as the authors' code does: a factor common to all
            objectives of a domain then cancels if normalize_std, and objective_mean and batch_rows play no part.
        batch_rows: see `objective_factors`.

    Returns:
        (batch, length) float32, 0 where response_mask is 0.

    Raises:
        ValueError: inputs that do not fit each other, infinite rewards or weights, unknown modes.
    """
    _check_choice("actor.loss_agg_mode", loss_agg_mode, LOSS_AGG_MODES)
    _check_choice("weight_on", weight_on, WEIGHT_ON)
    if response_mask.ndim != 2:
        raise ValueError(f"response_mask must be (batch, length), got shape {tuple(response_mask.shape)}.")
    values = _checked_rewards(rewards).to(response_mask.device)
    if len(values) != len(response_mask):
        raise ValueError(f"rewards have {len(values)} rows but response_mask has {len(response_mask)}.")

    # This copy becomes the result: one cast serves the token counts and the product, and no other array of this size
    # is made.
    advantages = response_mask.to(torch.float32, copy=True)
    if weight_on == "reward":
        row = group_normalize(weighted_sum(values, weights), groups, normalize_std)
        return advantages.mul_(row.nan_to_num(0.0))
    factors = objective_factors(~values.isnan(), weights, advantages, loss_agg_mode, objective_mean, batch_rows)
    row = group_normalize(values, groups, normalize_std).nan_to_num(0.0).double() @ factors
    return advantages.mul_(row.float()[:, None])


def weighted_sum(rewards: Tensor, weights: Weights) -> Tensor:
    """(batch, 1): the weighted sum of the rewards a row carries, NaN where it carries none.

    Args:
        rewards: (batch, K), NaN where an objective does not apply.
        weights: (K,).
    """
    weights = _checked_weights(weights, rewards.shape[1], rewards.device)
    # Not a matrix product: its blocking may round equal rows differently, and equal rewards must give exactly 0.
    scalar = (rewards * weights).nansum(dim=1, keepdim=True)
    return scalar.masked_fill(rewards.isnan().all(dim=1, keepdim=True), torch.nan)


def _checked_rewards(rewards: Tensor) -> Tensor:
    rewards = torch.as_tensor(rewards)
    if rewards.ndim != 2 or rewards.shape[1] == 0:
        raise ValueError(f"rewards must be (batch, K) with at least one objective, got shape {tuple(rewards.shape)}.")
    values = rewards.double()
    infinite = values.isinf()
    if infinite.any():
        row, objective = infinite.nonzero()[0].tolist()
        raise ValueError(
            f"rewards[{row}, {objective}] is {values[row, objective].item()}: "
            f"give a finite reward, or NaN where the objective does not apply."
        )
    return values


def _checked_weights(weights: Weights, objectives: int, device: torch.device) -> Tensor:
    weights = torch.as_tensor(weights, dtype=torch.float64, device=device)
    if weights.shape != (objectives,):
        raise ValueError(f"weights must hold one number for each of {objectives} objectives, got {weights.tolist()}.")
    if not weights.isfinite().all():
        raise ValueError(f"weights must be finite, got {weights.tolist()}.")
    return weights


def _checked_batch_rows(batch_rows: int, size: Tensor) -> int:
    rows = int(size.sum())
    if batch_rows < max(rows, 1):
        raise ValueError(f"batch_rows is {batch_rows} but {rows} rows have tokens: count padding rows on top of them.")
    return batch_rows


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(known)}.")


def _group_codes(groups: Groups, rewards: Tensor) -> tuple[Tensor, int]:
    """(batch,) int64 codes 0..n-1 of the group ids, and n."""
    ids = groups.numpy(force=True) if isinstance(groups, Tensor) else np.asarray(groups)
    if ids.shape != (len(rewards),):
        raise ValueError(f"groups must hold one id for each of {len(rewards)} rows, got shape {ids.shape}.")
    codes, uniques = pd.factorize(ids)
    if (codes < 0).any():
        raise ValueError(f"groups[{int(codes.argmin())}] is missing: give every row a group id.")
    return torch.from_numpy(codes.astype(np.int64, copy=False)).to(rewards.device), len(uniques)
