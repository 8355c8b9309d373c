"""The actor worker of a run with next-token rows: verl's own, with another loss and two additions to its engine.

verl 0.9.1 builds a `TrainingWorker` (`workers/engine_workers.py`) around an engine; `actor_worker_cls` and
`ref_worker_cls` of `ActorRolloutRefWorker` name its class.
"""

import ray
import torch
from tensordict import TensorDict
from torch.distributed.tensor import DTensor
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils import tensordict_utils as tu
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine_workers import TrainingWorker

from recap_verl.verl_adapter.hybrid_loss import HybridLoss
from recap_verl.verl_adapter.ntp_fields import (
    HITS,
    SOFT_NLL,
    WANT_HITS,
    WANT_SOFT_NLL,
    distributions,
    next_token_rows,
)


class NextTokenEngine:
    """Mixin over verl's engine: reference tokens are scored at temperature 1, and hits are told from misses."""

    def forward_backward_batch(self, data: TensorDict, loss_function, forward_only=False):
        """verl divides logits by the sampling temperature; the likelihood of reference tokens knows none."""
        is_ntp = next_token_rows(data)
        if is_ntp is not None and data["temperature"] != 1:
            temperature = torch.where(is_ntp, 1.0, float(data["temperature"]))
            data["temperature"] = temperature
        return super().forward_backward_batch(data, loss_function, forward_only=forward_only)

    def prepare_model_outputs(self, output, output_args, micro_batch: TensorDict, logits_processor_func):
        """verl's outputs, and where the driver asks for them `HITS` and `SOFT_NLL`, nested (rows, whole length).

        Both are taken of the logits before verl scales them.
        """
        of_tokens = {}
        # Fused kernels give log-probabilities and no logits.
        if tu.get_non_tensor_data(micro_batch, WANT_HITS, default=False) and output.logits is not None:
            of_tokens[HITS] = self._hits(output, output_args, micro_batch)
        if tu.get_non_tensor_data(micro_batch, WANT_SOFT_NLL, default=False):
            of_tokens[SOFT_NLL] = self._soft_nll(output, micro_batch)
        model_output = super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func)
        return model_output | of_tokens

    def _hits(self, output, output_args, micro_batch: TensorDict) -> torch.Tensor:
        logits, input_ids = output.logits, micro_batch["input_ids"]
        if isinstance(logits, DTensor):
            logits = logits.full_tensor()
        choices = logits.argmax(dim=-1)
        labels = output_args["input_ids_rmpad_rolled"]
        if _is_packed(micro_batch):
            hits = (choices.squeeze(0) == labels).float()
            hits = self._gather_and_unpad_packed(hits, output_args["pad_size"])
        else:
            lengths = input_ids.offsets().diff().tolist()
            hits = (torch.cat([row[:length] for row, length in zip(choices, lengths, strict=True)]) == labels).float()
        return torch.nested.nested_tensor_from_jagged(hits, input_ids.offsets())

    def _soft_nll(self, output, micro_batch: TensorDict) -> torch.Tensor:
        """Cross-entropy against the stored distributions, renormalised over their k tokens; NaN elsewhere."""
        offsets = micro_batch["input_ids"].offsets()
        starts, ends = offsets[:-1].tolist(), offsets[1:].tolist()
        lengths = micro_batch["responses"].offsets().diff().tolist()
        soft = torch.full((ends[-1],), torch.nan, device=output.logits.device)
        for row, stored in enumerate(distributions(micro_batch)):
            if stored is None:
                continue
            first, last = ends[row] - lengths[row] - 1, ends[row] - 1
            logits = (
                output.logits[0, first:last]
                if _is_packed(micro_batch)
                else output.logits[row, first - starts[row] : last - starts[row]]
            )
            # An answer may have been cut; its distribution was not.
            tokens = torch.tensor(stored["topk_ids"], device=soft.device)[: lengths[row]]
            target = torch.tensor(stored["topk_log_probs"], device=soft.device)[: lengths[row]].softmax(dim=-1)
            log_probs = logits.float().log_softmax(dim=-1).gather(1, tokens)
            soft = soft.index_put((torch.arange(first, last, device=soft.device),), -(target * log_probs).sum(dim=-1))
        return torch.nested.nested_tensor_from_jagged(soft, offsets)


def _is_packed(micro_batch: TensorDict) -> bool:
    return tu.get_non_tensor_data(micro_batch, "use_remove_padding", default=True)


class NextTokenTrainingWorker(TrainingWorker):
    """verl's `TrainingWorker` with `NextTokenEngine` in front of an FSDP engine's class.

    Other engines keep theirs: the loss needs nothing of it at temperature 1, token accuracy is not measured.
    """

    def __init__(self, config):
        super().__init__(config)
        engine = type(self.engine)
        if issubclass(engine, FSDPEngineWithLMHead):
            self.engine.__class__ = type(f"NextToken{engine.__name__}", (NextTokenEngine, engine), {})


class NextTokenWorkerMixin:
    """Mixin over verl's `ActorRolloutRefWorker`: the actor's loss becomes a `HybridLoss` around the configured one."""

    actor_worker_cls = NextTokenTrainingWorker
    ref_worker_cls = NextTokenTrainingWorker
    ntp_kl = 0.0

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self):
        super().init_model()
        if self.actor is not None:
            self.actor.set_loss_fn(HybridLoss(self.loss_fn, self.ntp_kl, self.config.actor.kl_loss_type))


def with_next_token_rows(worker_class, kl: float):
    """The Ray actor class `worker_class`, able to train on next-token rows.

    Args:
        worker_class: an entry of verl's `role_worker_mapping`, already passed through `ray.remote`.
        kl: factor of the KL divergence on reference tokens.
    """
    base = worker_class.__ray_actor_class__
    return ray.remote(type(f"NextToken{base.__name__}", (NextTokenWorkerMixin, base), {"ntp_kl": kl}))
