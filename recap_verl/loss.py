"""The next-token part of the weighted loss.

RECAP minimises `(1/K) * sum_k lambda_k * L_k` over reinforcement-learning and supervised objectives alike (arXiv
2510.21978). `recap_verl.advantage` folds weights and row counts of the RL objectives into verl's advantages. For the
objectives `ntp` they become one weight per token here, so that the sum of weight times negative log-likelihood over
any mini-batch is that mini-batch's share of the objective. Nothing is left to be normalised by mini-batch,
micro-batch or rank, so the split into them changes nothing.
"""

import torch
from torch import Tensor

from recap_verl.advantage import LOSS_AGG_MODES, SEQ_MEAN_MODES


def next_token_weights(
    objective: Tensor,
    lengths: Tensor,
    weights: Tensor,
    loss_agg_mode: str,
    *,
    mini_batches: int = 1,
    horizon: int | None = None,
    population: float | None = None,
) -> Tensor:
    """Weight w of each token of each row, such that the mean over mini-batches of `sum(w * nll)` is the `ntp` part of
    the loss, `(1/K) * sum_k weight_k * L_k` over the objectives k that are next-token losses.

    L_k is the aggregation `loss_agg_mode` of verl 0.9.1 (`agg_loss`, trainer/ppo/core_algos.py) over the rows of k
    alone, in the whole step.

    Args:
        objective: (rows,) int64, which of the K objectives each row carries.
        lengths: (rows,) reference tokens of each row, at least 1.
        weights: (K,) the weights of ALL objectives in the batch, RL ones included.
        loss_agg_mode: one of `LOSS_AGG_MODES`.
        mini_batches: updates that the step is cut into. "token-sum" ignores it: a sum over the step is the sum of
            the mini-batches' sums.
        horizon: the constant that "seq-mean-token-sum-norm" divides by, verl's `loss_scale_factor`; other modes
            ignore it.
        population: None averages each objective over its own rows. A number (tokens for "token-mean", rows for the
            seq-mean modes) is divided by instead, and 1/K left out: an objective then counts by its rows.

    Returns:
        (rows,) float64.

    Raises:
        ValueError: an unknown mode, a wrong shape, a row without tokens, no horizon where one is needed.
    """
    if loss_agg_mode not in LOSS_AGG_MODES:
        raise ValueError(f"loss_agg_mode is {loss_agg_mode!r}: choose one of {', '.join(LOSS_AGG_MODES)}.")
    if objective.shape != lengths.shape or objective.ndim != 1:
        raise ValueError(
            f"objective and lengths must be (rows,), got {tuple(objective.shape)}, {tuple(lengths.shape)}."
        )
    if (lengths < 1).any():
        raise ValueError(
            f"row {int((lengths < 1).int().argmax())} has no reference token: give every row one at least."
        )
    if loss_agg_mode == "seq-mean-token-sum-norm" and not horizon:
        raise ValueError("seq-mean-token-sum-norm needs a horizon: set actor.loss_scale_factor.")
    lengths, weights = lengths.double(), weights.double()
    row_weight = weights[objective] if population is not None else weights[objective] / len(weights)
    if loss_agg_mode == "token-sum":
        return row_weight
    size = torch.ones_like(lengths) if loss_agg_mode in SEQ_MEAN_MODES else lengths
    own_population = torch.zeros_like(weights).index_add_(0, objective, size)[objective]
    row_weight = row_weight * mini_batches / (own_population if population is None else population)
    if loss_agg_mode == "seq-mean-token-mean":
        return row_weight / lengths
    return row_weight / horizon if loss_agg_mode == "seq-mean-token-sum-norm" else row_weight


def mean_per_token(values: list[Tensor]) -> float:
    """Mean over all tokens of all rows, each row (length,)."""
    return float(torch.cat(values).double().mean())
