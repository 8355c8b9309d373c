"""The advantage estimator "recap": several weighted objectives behind verl's one-reward estimator interface.

verl 0.9.1 calls an estimator with one reward per token (``core_algos.register_adv_est``). The trainer mixin lays the
step's reward matrix beside that call with ``step_rewards``; the estimator picks it up. Called without one, as from a
plain verl trainer, it is GRPO on the one reward it gets.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, register_adv_est
from verl.utils.debug import marked_timer

from recap_verl.advantage import group_normalize, objective_factors, weighted_advantages, weighted_sum

NAME = "recap"
# Both mean our group normalisation per objective: verl's "grpo" is the special case of one objective.
GROUP_NORMALIZED = (NAME, "grpo")
# Estimators whose own configuration of several rewards RECAP would pass over in silence.
MULTI_REWARD = ("gdpo",)
_PROVIDED = ("token_level_rewards", "response_mask", "index", "config", "kwargs", "args")


@dataclass(frozen=True)
class StepRewards:
    """What the estimator needs of one batch besides verl's own arguments.

    Attributes:
        rewards: (batch, K), NaN where an objective does not apply; outcome rewards without any KL penalty.
        weights: (K,) of the scheduler.
        session: (batch,) code of the agent-loop session of each row.
        final: (batch,) bool, True for the last output of each session.
        scores: (batch,) sum of verl's own token-level scores before a KL penalty.
        base_estimator: the estimator the user configured, applied to each objective by itself.
        loss_agg_mode, weight_on, objective_mean, normalize_std: see ``recap_verl.advantage``.
        batch_rows: what verl's actor divides by in the seq-mean modes, over the whole step; None: the batch's rows. It
            is another number where next-token rows share the batch. Their columns of ``rewards`` are then NaN
            throughout, so that they count in K and in nothing else.
        scale: factor of all advantages, the part of the loss that falls to the RL rows.
        timing: verl's seconds by name; the estimator adds its own to "recap".
    """

    rewards: torch.Tensor
    weights: torch.Tensor
    session: torch.Tensor
    final: torch.Tensor
    scores: torch.Tensor
    base_estimator: str
    loss_agg_mode: str
    weight_on: str
    objective_mean: bool
    normalize_std: bool
    batch_rows: int | None = None
    scale: float = 1.0
    timing: dict[str, float] = field(default_factory=dict)


_STEP: ContextVar[StepRewards | None] = ContextVar("recap_step_rewards", default=None)


@contextmanager
def step_rewards(step: StepRewards) -> Iterator[None]:
    """Make ``step`` the reward matrix of the estimator calls inside the block."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


@register_adv_est(NAME)
def compute_recap_advantage(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, config: Any = None, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns, both (batch, length), of the weighted objectives.

    Args:
        token_level_rewards: (batch, length), verl's scalar reward, minus the KL penalty if one is configured.
        response_mask: (batch, length).
        index: (batch,) group ids.
        config: verl's algorithm config.
    """
    step = _STEP.get()
    if step is None:
        normalize_std = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
        advantages = weighted_advantages(
            token_level_rewards.sum(dim=-1, keepdim=True), [1.0], index, response_mask, normalize_std=normalize_std
        )
        return advantages, advantages
    with marked_timer("recap", step.timing):
        # Only a KL penalty makes verl's rewards differ from its scores; it is part of every objective's return, as it
        # would be if that objective were trained alone.
        penalty = token_level_rewards.sum(dim=-1) - step.scores
        rewards = step.rewards + penalty[:, None]
        if step.weight_on == "reward":
            rewards = weighted_sum(rewards, step.weights)
        estimate = _group_normalized if step.base_estimator in GROUP_NORMALIZED else _by_estimator
        advantages = estimate(step, rewards, response_mask, index, config)
    return advantages, advantages


def _group_normalized(step, rewards, response_mask, index, config) -> torch.Tensor:
    """Normalise final outputs in their groups, then give every output of a session its final output's advantage.

    verl does so for the literal estimator "grpo" alone (``v1/utils.py:compute_advantage_for_multi_trajectories``).
    """
    rewards = rewards.masked_fill(~step.final[:, None], torch.nan)
    normalized = _to_sessions(group_normalize(rewards, index, step.normalize_std), step)
    factors = _factors(step, ~normalized.isnan(), response_mask)
    row = (normalized.nan_to_num(0.0).double() @ factors).float()
    return row[:, None] * response_mask


def _by_estimator(step, rewards, response_mask, index, config) -> torch.Tensor:
    """Apply the user's estimator to each objective alone, on the rows that carry it, and add them up weighted.

    Every output of a session is a row of its own here, as it is to verl with these estimators.
    """
    estimator = get_adv_estimator_fn(step.base_estimator)
    total = torch.zeros(response_mask.shape, dtype=torch.float32)
    for objective, factor in enumerate(_factors(step, ~rewards.isnan(), response_mask).tolist()):
        carriers = (~rewards[:, objective].isnan()).nonzero().squeeze(1)
        if len(carriers) == 0:
            continue
        mask = response_mask[carriers]
        outcome = _at_last_token(rewards[carriers, objective], mask)
        advantages, _ = estimator(
            token_level_rewards=outcome, response_mask=mask, index=index[carriers.numpy()], config=config
        )
        total[carriers] += factor * advantages.float()
    return total * response_mask


def _factors(step: StepRewards, applies: torch.Tensor, response_mask: torch.Tensor) -> torch.Tensor:
    """(K,) what to multiply each objective's advantages by; with weights on the rewards there is nothing left to do."""
    if step.weight_on == "reward":
        return torch.full((1,), step.scale, dtype=torch.float64)
    # verl's actor divides the seq-mean modes by the configured mini-batch size, padding rows included, and the batch
    # is padded to a multiple of it: over the whole step that is the number of rows.
    batch_rows = len(applies) if step.batch_rows is None else step.batch_rows
    return step.scale * objective_factors(
        applies, step.weights, response_mask, step.loss_agg_mode, step.objective_mean, batch_rows
    )


def _to_sessions(values: torch.Tensor, step: StepRewards) -> torch.Tensor:
    """(batch, K): each row's values replaced by those of its session's final row."""
    final_row = torch.zeros(int(step.session.max()) + 1, dtype=torch.long)
    rows = step.final.nonzero().squeeze(1)
    final_row[step.session[rows]] = rows
    return values[final_row[step.session]]


def _at_last_token(rewards: torch.Tensor, response_mask: torch.Tensor) -> torch.Tensor:
    """(rows, length): each outcome reward on the last response token that counts."""
    length = response_mask.shape[1]
    last = (response_mask.float() * torch.arange(1, length + 1)).argmax(dim=1)
    outcome = torch.zeros(response_mask.shape, dtype=torch.float32)
    outcome[torch.arange(len(rewards)), last] = rewards.float()
    return outcome


def check_estimator(name: str) -> None:
    """Refuse an estimator that needs more than an outcome reward, a mask and groups.

    Raises:
        ValueError: the estimator is unknown to verl, or takes arguments that no objective alone can give.
    """
    if name in (*GROUP_NORMALIZED, "gae"):
        return
    if name in MULTI_REWARD:
        raise ValueError(
            f"algorithm.adv_estimator={name} combines rewards by weights of its own, and so does RECAP: use grpo, "
            f"which RECAP normalises per objective just as {name} would"
        )
    try:
        estimator = get_adv_estimator_fn(name)
    except ValueError as error:
        raise ValueError(f"algorithm.adv_estimator: {error}") from error
    required = [
        parameter.name
        for parameter in inspect.signature(estimator).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.name not in _PROVIDED
    ]
    if required:
        raise ValueError(
            f"algorithm.adv_estimator={name} needs {', '.join(required)}, which RECAP cannot give per objective: "
            f"use grpo, gae, or an estimator of outcome rewards and groups such as rloo or opo"
        )
