"""The loss of a batch with reinforcement-learning and next-token rows (worker side).

verl 0.9.1 asks one loss function for each micro-batch (`workers/utils/losses.py:ppo_loss`). This one shows verl's own
the RL rows and nothing else, and adds the weighted negative log-likelihood of the reference tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import NonTensorData, TensorDict
from verl.trainer.ppo.core_algos import kl_penalty
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric

from recap_verl.verl_adapter.ntp_fields import RL_ROWS, RL_TOKENS, SOFT_NLL, WEIGHT, next_token_rows

LossOutput = tuple[torch.Tensor, dict[str, Any]]


class HybridLoss:
    """`rl_loss` on the RL rows plus `sum(weight * (nll + kl * KL))` over the reference tokens of the others.

    A batch without next-token rows is handed to `rl_loss` as it is.

    Args:
        rl_loss: verl's loss, its configuration bound.
        kl: factor of the KL divergence to the reference policy on reference tokens; 0 leaves it out.
        kl_type: verl's `actor.kl_loss_type`.
    """

    def __init__(self, rl_loss: Callable[..., LossOutput], kl: float = 0.0, kl_type: str = "low_var_kl"):
        self.rl_loss = rl_loss
        self.kl = kl
        self.kl_type = kl_type

    def __call__(self, model_output: dict, data: TensorDict, dp_group=None) -> LossOutput:
        """Loss and metrics of one micro-batch, for verl's engines, which average over data-parallel ranks."""
        if RL_TOKENS not in data.keys():  # noqa: SIM118  a TensorDict iterates over its rows
            return self.rl_loss(model_output=model_output, data=data, dp_group=dp_group)
        is_ntp = next_token_rows(data)
        ntp = self._next_token_loss(model_output, data, is_ntp) * data["dp_size"]
        loss, metrics = ntp, {"actor/ntp_loss": Metric(AggregationType.SUM, ntp)}
        # The same on every rank and in every micro-batch: verl gathers metrics by name, from all of them.
        if data[RL_TOKENS] > 0:
            rl, rl_metrics = self._rl_loss(model_output, data, is_ntp, dp_group)
            loss, metrics = loss + rl, metrics | rl_metrics
        return loss, metrics

    def _next_token_loss(self, model_output: dict, data: TensorDict, is_ntp: torch.Tensor) -> torch.Tensor:
        log_probs, weight = model_output["log_probs"], data[WEIGHT]
        ends, lengths = log_probs.offsets()[1:].tolist(), weight.offsets().diff().tolist()
        rows = is_ntp.nonzero().squeeze(1).tolist()
        if not rows:
            return log_probs.values()[:0].sum()

        def of_references(values: torch.Tensor) -> torch.Tensor:
            # What belongs to a token stands at the position before it.
            return torch.cat([values[ends[row] - lengths[row] - 1 : ends[row] - 1] for row in rows])

        log_prob = of_references(log_probs.values())
        loss = -log_prob
        if SOFT_NLL in model_output:
            soft = of_references(model_output[SOFT_NLL].values())
            loss = torch.where(soft.isnan(), loss, soft)
        if self.kl:
            reference = data["ref_log_prob"].unbind()
            divergence = kl_penalty(log_prob, torch.cat([reference[row] for row in rows]), self.kl_type)
            loss = loss + self.kl * divergence
        values, starts = weight.values(), weight.offsets().tolist()
        weights = torch.cat([values[starts[row] : starts[row + 1]] for row in rows])
        return (loss * weights).sum()

    def _rl_loss(self, model_output: dict, data: TensorDict, is_ntp: torch.Tensor, dp_group) -> LossOutput:
        """verl's loss over the RL rows of the micro-batch that have tokens, averaged over the step's RL rows."""
        mask = data["response_mask"]
        has_tokens = torch.stack([row.any() for row in mask.unbind()])
        rows = (~is_ntp & has_tokens).nonzero().squeeze(1)
        if len(rows) == 0:
            return model_output["log_probs"].values()[:0].sum(), _shared(
                self._metrics_of(model_output, data, dp_group), 0
            )
        rl_data = _select(data, rows)
        tokens = data[RL_TOKENS]
        tu.assign_non_tensor(rl_data, batch_num_tokens=tokens, global_batch_size=data[RL_ROWS])
        output = {
            name: _select_nested(value, rows)
            for name, value in model_output.items()
            if value is not None and name != SOFT_NLL
        }
        loss, metrics = self.rl_loss(model_output=output, data=rl_data, dp_group=dp_group)
        share = float(rl_data["response_mask"].values().sum()) / tokens * data["dp_size"]
        return loss, _shared(metrics, share)

    @torch.no_grad()
    def _metrics_of(self, model_output: dict, data: TensorDict, dp_group) -> dict[str, Any]:
        """Metrics of a micro-batch without RL tokens, for their names: every token stands in, since losses may ask
        for one at least."""
        standing_in = data.copy()
        standing_in["response_mask"] = torch.ones_like(data["response_mask"])
        _, metrics = self.rl_loss(model_output=model_output, data=standing_in, dp_group=dp_group)
        return metrics


def _shared(metrics: dict[str, Any], share: float) -> dict[str, Any]:
    """verl's means over micro-batches as sums weighted by RL tokens, which rows of another kind cannot dilute."""

    def weighted(metric: Any) -> Any:
        if not isinstance(metric, Metric):
            return metric
        if metric.aggregation == AggregationType.MEAN:
            return Metric(AggregationType.SUM, metric.aggregate() * share if share else 0.0)
        if metric.aggregation == AggregationType.SUM and not share:
            return Metric(AggregationType.SUM, 0.0)
        return metric

    return {name: weighted(metric) for name, metric in metrics.items()}


def _select(data: TensorDict, rows: torch.Tensor) -> TensorDict:
    """The rows' fields that a loss reads: two-dimensional ones, and what belongs to the whole batch.

    (verl 0.9.1's own selection unbinds, which torch gets wrong for the three-dimensional position ids of VL models.)
    """
    kept = {}
    for name, value in data.items():
        if isinstance(value, torch.Tensor):
            if not value.is_nested:
                kept[name] = value[rows]
            elif value.dim() == 2:
                kept[name] = _select_nested(value, rows)
    selected = TensorDict(kept, batch_size=len(rows))
    for name, value in data.items():
        if isinstance(value, NonTensorData):
            tu.assign_non_tensor_data(selected, name, value.data)
    return selected


def _select_nested(nested: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows of a jagged (rows, length) tensor, with its gradient.

    (Without the longest length at hand torch pads to the sum of all lengths.)
    """
    values, starts = nested.values(), nested.offsets().tolist()
    pieces = [values[starts[row] : starts[row + 1]] for row in rows.tolist()]
    lengths = [len(piece) for piece in pieces]
    offsets = torch.tensor([0, *lengths], device=values.device).cumsum(0)
    return torch.nested.nested_tensor_from_jagged(
        torch.cat(pieces), offsets, min_seqlen=min(lengths), max_seqlen=max(lengths)
    )
