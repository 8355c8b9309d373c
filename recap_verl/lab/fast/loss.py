"""The weighted loss of one step, as verl's actor update and our next-token loss make it up together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recap_verl.advantage import weighted_advantages
from recap_verl.loss import next_token_weights

# verl 0.9.1's defaults: actor.clip_ratio, actor.clip_ratio_c.
CLIP, DUAL_CLIP = 0.2, 3.0


@dataclass(frozen=True)
class LossSettings:
    """How verl averages (`actor.loss_agg_mode` is token-mean), where the weights act, and the KL loss's factor."""

    objective_mean: bool = True
    weight_on: str = "advantage"
    kl: float = 0.0


@dataclass(frozen=True)
class StepRows:
    """The rows of a step, generated ones first.

    Attributes:
        rewards: (generated, K) with NaN where an objective does not apply; K counts next-token losses, too.
        groups: (generated,) the prompt that each response belongs to.
        generated_mask: (generated, length), 1 on the tokens of each response.
        objective: (reference rows,) column of the next-token loss that each of them carries.
        reference_mask: (reference rows, length).
        weights: (K,) of mean 1 over the objectives that have rows in the step.
    """

    rewards: Tensor
    groups: Tensor
    generated_mask: Tensor
    objective: Tensor
    reference_mask: Tensor
    weights: Tensor


def advantages(rows: StepRows, settings: LossSettings) -> Tensor:
    """(generated, length): per-objective, weighted, so that verl's token mean over the generated rows is their part of
    the loss."""
    values = weighted_advantages(
        rows.rewards,
        rows.weights,
        rows.groups,
        rows.generated_mask,
        objective_mean=settings.objective_mean,
        weight_on=settings.weight_on,
    )
    return values * _share_of_generated(rows, settings)


def _share_of_generated(rows: StepRows, settings: LossSettings) -> float:
    """Factor of the generated rows' part: 1 where each objective's own factor says it all."""
    if len(rows.objective) == 0:
        return 1.0
    if settings.weight_on == "reward":
        is_rl = torch.ones(len(rows.weights), dtype=torch.bool)
        is_rl[rows.objective] = False
        return float(rows.weights[is_rl].sum() / len(rows.weights))
    if settings.objective_mean:
        return 1.0
    tokens = float(rows.generated_mask.sum())
    return tokens / (tokens + float(rows.reference_mask.sum()))


def reference_weights(rows: StepRows, settings: LossSettings) -> Tensor:
    """(reference rows,): the weight of each token's negative log-likelihood."""
    by_tokens = settings.weight_on == "advantage" and not settings.objective_mean
    everything = float(rows.generated_mask.sum() + rows.reference_mask.sum())
    return next_token_weights(
        rows.objective,
        rows.reference_mask.sum(dim=1).long(),
        rows.weights,
        "token-mean",
        population=everything if by_tokens else None,
    )


def step_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    rows: StepRows,
    settings: LossSettings,
    base_log_probs: Tensor | None = None,
) -> Tensor:
    """`(1/K) sum_k lambda_k L_k` of a step.

    Args:
        log_probs: (generated + reference rows, length), with gradient.
        old_log_probs: (generated, length) of the policy that wrote the responses.
        base_log_probs: (generated, length) of the base model, for the KL loss.
    """
    generated = len(rows.rewards)
    loss = log_probs.new_zeros(())
    if generated:
        mask = rows.generated_mask
        new, width = log_probs[:generated, : mask.shape[1]], mask.shape[1]
        ratio = (new - old_log_probs[:, :width]).exp()
        advantage = advantages(rows, settings)
        clipped = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP))
        surrogate = torch.where(advantage < 0, torch.minimum(clipped, -advantage * DUAL_CLIP), clipped)
        loss = loss + (surrogate * mask).sum() / mask.sum()
        if settings.kl:
            # Schulman's k3 estimator, verl's "low_var_kl".
            difference = base_log_probs[:, :width] - new
            divergence = (difference.exp() - difference - 1).clamp(-10, 10)
            loss = loss + settings.kl * (divergence * mask).sum() / mask.sum()
    if len(rows.objective):
        mask = rows.reference_mask
        nll = -log_probs[generated:, : mask.shape[1]] * mask
        loss = loss + (nll.sum(dim=1) * reference_weights(rows, settings)).sum()
    return loss
