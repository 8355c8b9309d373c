"""Next-token rows inside verl's v1 trainers (driver side; verl 0.9.1, `trainer/ppo/v1/trainer_base.py`).

The rows go through the steps of the trainer with a response mask of 0. Passes that would be wasted on them are given
the generated rows alone, and so are verl's advantages, whose statistics are of what it is given. A run without sft
domains is left as it is, and so is a batch without rows of theirs.
"""

import torch
import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.utils.debug import marked_timer
from verl.workers.utils.padding import response_from_nested

from recap_verl.loss import next_token_weights
from recap_verl.verl_adapter.hybrid_data import HybridCollate
from recap_verl.verl_adapter.hybrid_worker import with_next_token_rows
from recap_verl.verl_adapter.ntp_fields import RL_ROWS, RL_TOKENS, WANT_HITS, WANT_SOFT_NLL, WEIGHT, per_row
from recap_verl.verl_adapter.step_data import StepData

ACTOR_ROLES = (Role.Actor, Role.ActorRollout, Role.ActorRolloutRef, Role.RefPolicy)


class NextTokenRowsMixin:
    """Teaches a verl trainer to carry next-token rows; needs ``domains``, ``_base_estimator`` and
    ``_compute_rl_advantage`` of the class that mixes it in."""

    def _init_resource_pool_mgr(self):
        super()._init_resource_pool_mgr()
        if self.domains.sft:
            for role in ACTOR_ROLES:
                if role in self.role_worker_mapping:
                    worker = self.role_worker_mapping[role]
                    self.role_worker_mapping[role] = with_next_token_rows(worker, self.config.recap.ntp.kl)

    def _hybrid_collate(self) -> HybridCollate:
        rollout = self.config.actor_rollout_ref.rollout
        return HybridCollate(
            self.domains, rollout.agent.default_agent_loop, rollout.n, self.config.recap.ntp.distribution
        )

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        self._next_token_keys_of_step: set[str] = set()
        return super().step(metrics, timing_raw)

    # ------------------------------------------------------------ log-probabilities

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's pass over all rows, which also measures the likelihood of the reference tokens before the update."""
        self._sft_keys = self._mark_next_token_rows(batch)
        if not self._sft_keys:
            return super()._compute_old_log_prob(batch, metrics)
        self._next_token_keys_of_step.update(self._sft_keys)
        batch.extra_info[WANT_HITS] = True
        correction = self.config.algorithm.get("rollout_correction", None)
        bypass = bool(correction and correction.get("bypass_mode", False))
        # verl's means over generated tokens are NaN where there are none, and would make the step's NaN too.
        batch = super()._compute_old_log_prob(batch, metrics if self._generated_keys(batch) else {})
        if bypass:
            self._compute_reference_log_prob(batch)
        batch.extra_info[WANT_HITS] = False
        return batch

    def _mark_next_token_rows(self, batch: KVBatchMeta) -> list[str]:
        """Tell the workers which rows are next-token rows; return their keys."""
        if not self.domains.sft:
            return []
        sources = list(self._get(batch, batch.keys, "data_source")["data_source"])
        is_sft = [
            not tag.get("is_padding", False) and self.domains.of_data_source(source).is_sft
            for tag, source in zip(batch.tags, sources, strict=True)
        ]
        if any(is_sft):
            marks = per_row([1.0 if sft else float("nan") for sft in is_sft], _response_lengths(batch))
            self._put(batch, batch.keys, {WEIGHT: marks})
        return [key for key, sft in zip(batch.keys, is_sft, strict=True) if sft]

    def _compute_reference_log_prob(self, batch: KVBatchMeta) -> None:
        """Where verl takes the rollout engine's log-probabilities for old ones: reference tokens have none."""
        rollout = self.config.actor_rollout_ref.rollout
        rows = self._subset(batch, self._sft_keys, self._ranks() * _micro_batch(rollout))
        rows.extra_info.update(
            {"calculate_entropy": False, "compute_loss": False, "temperature": rollout.temperature, WANT_HITS: True}
        )
        self.actor_rollout_wg.compute_log_prob(rows)
        data = self._get(batch, self._sft_keys, "log_probs", "response_mask")
        old = response_from_nested(data["log_probs"], data["response_mask"])
        self._put(batch, self._sft_keys, {"old_log_probs": old})

    def _compute_ref_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's pass over the generated rows, unless a KL term on reference tokens is asked for."""
        if not self._sft_keys or self.config.recap.ntp.kl:
            return super()._compute_ref_log_prob(batch, metrics)
        # With LoRA the reference policy is the actor without its adapter, asked as the actor is.
        asked = self.config.actor_rollout_ref["rollout" if self.ref_in_actor else "ref"]
        rows = self._subset(batch, self._generated_keys(batch), self._ranks() * _micro_batch(asked))
        if len(rows):
            super()._compute_ref_log_prob(rows, metrics)
        self._fill(batch, rows, "ref_log_prob")
        return batch

    # --------------------------------------------------------------------- the critic

    def _compute_values(self, batch: KVBatchMeta, metrics: dict | None = None) -> KVBatchMeta:
        """verl's pass over the generated rows: reference answers have no return to predict."""
        if not self._sft_keys:
            return super()._compute_values(batch, metrics)
        critic = self.config.critic
        micro_batch = 1 if critic.use_dynamic_bsz else critic.forward_micro_batch_size_per_gpu
        rows = self._subset(batch, self._generated_keys(batch), self._ranks() * (micro_batch or 1))
        if len(rows):
            super()._compute_values(rows, metrics)
        self._fill(batch, rows, "values")
        return batch

    def _update_critic(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's update on the generated rows: its loss divides by the tokens of a mini-batch, which must have some.

        The rows that fill them up are fewer than a mini-batch, so no mini-batch is made of those alone.
        """
        if not self._sft_keys:
            return super()._update_critic(batch, metrics)
        mini_batch = self.config.critic.ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n
        rows = self._subset(batch, self._generated_keys(batch), mini_batch)
        if len(rows):
            super()._update_critic(rows, metrics)
        return batch

    # --------------------------------------------------------------- parts of the loss

    def _compute_mixed_advantage(self, batch: KVBatchMeta, metrics, step: StepData, columns, weights) -> KVBatchMeta:
        """Advantages of the generated rows, as if they were alone, and weights of the reference tokens.

        Args:
            columns: (K',) the objectives in the batch, as columns of the scheduler's keys.
            weights: (K',) their weights.
        """
        keys = self._generated_keys(batch)
        rl_tokens, rl_rows = self._count(batch, keys)
        rows = batch.select_keys(keys)
        if keys:
            alone = step.generated()
            scale = self._scale_of_generated(step, columns, weights, rl_tokens, rl_rows)
            rewards = alone.rewards[:, columns]
            rows = self._compute_rl_advantage(rows, metrics, alone, rewards, weights, rl_rows, scale)
        with marked_timer("recap", self.timing_raw):
            written = ["advantages", "returns"]
            if self.config.algorithm.use_kl_in_reward:
                written.append("token_level_rewards")
            if "rollout_is_weights" in (rows.fields or ()):
                written.append("rollout_is_weights")
            self._fill(batch, rows, *written)
            return self._put_next_token_weights(batch, step, columns, weights, rl_tokens, rl_rows)

    def _scale_of_generated(self, step: StepData, columns, weights, rl_tokens: int, rl_rows: int) -> float:
        """Factor of the generated rows' advantages: 1 where each objective's own factor says it all."""
        recap, mode = self.config.recap, self.config.actor_rollout_ref.actor.loss_agg_mode
        if self._base_estimator == "gae" or recap.weight_on == "reward":
            # These sum the weighted rewards into one, whose normalisation forgets their scale.
            is_rl = ~torch.isin(columns, step.ntp.objective)
            return float(weights[is_rl].sum() / len(weights))
        if recap.objective_mean or mode == "token-sum":
            return 1.0
        ntp_tokens, ntp_rows = int(step.ntp.lengths.sum()), len(step.ntp.nll)
        return rl_tokens / (rl_tokens + ntp_tokens) if mode == "token-mean" else rl_rows / (rl_rows + ntp_rows)

    def _put_next_token_weights(
        self, batch: KVBatchMeta, step: StepData, columns, weights, rl_tokens: int, rl_rows: int
    ) -> KVBatchMeta:
        recap, actor = self.config.recap, self.config.actor_rollout_ref.actor
        mode = recap.ntp.loss_agg_mode or actor.loss_agg_mode
        # A critic that is still warming up may pad the batch to less than a mini-batch of the actor's.
        mini_batches = max(1, len(batch) // (actor.ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n))
        by_rows = recap.weight_on == "advantage" and not recap.objective_mean and self._base_estimator != "gae"
        ntp_size = int(step.ntp.lengths.sum()) if mode == "token-mean" else len(step.ntp.nll)
        row_weights = next_token_weights(
            torch.searchsorted(columns, step.ntp.objective),
            step.ntp.lengths,
            weights,
            mode,
            mini_batches=mini_batches,
            horizon=actor.loss_scale_factor or self.config.data.max_response_length,
            population=(rl_tokens if mode == "token-mean" else rl_rows) + ntp_size if by_rows else None,
        )
        of_batch = torch.full((len(batch),), torch.nan, dtype=torch.float64)
        of_batch[step.ntp.positions] = row_weights
        self._rl_shares = {RL_TOKENS: rl_tokens / mini_batches, RL_ROWS: rl_rows / mini_batches}
        return self._put(batch, batch.keys, {WEIGHT: per_row(of_batch.tolist(), torch.tensor(step.lengths))})

    def _count(self, batch: KVBatchMeta, keys: list[str]) -> tuple[int, int]:
        """Tokens and rows that verl's losses average over."""
        if not keys:
            return 0, 0
        tokens = torch.stack([mask.sum() for mask in self._get(batch, keys, "loss_mask")["loss_mask"].unbind()])
        return int(tokens.sum()), int((tokens > 0).sum())

    def _scale_advantages(self, batch: KVBatchMeta, scale: float) -> KVBatchMeta:
        advantages = self._get(batch, batch.keys, "advantages")["advantages"]
        return self._put(batch, batch.keys, {"advantages": advantages * scale})

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self._sft_keys:
            batch.extra_info.update(self._rl_shares)
            batch.extra_info[WANT_SOFT_NLL] = self.config.recap.ntp.distribution
        return super()._update_actor(batch, metrics)

    # ------------------------------------------------------------------- metrics

    def _compute_metrics(self, batch: KVBatchMeta, metrics, timing_raw, global_steps, epoch):
        """verl's statistics of responses are about generated ones; its throughput counts every row."""
        next_token = self._next_token_keys_of_step
        generated = [
            not tag.get("is_padding", False) and key not in next_token
            for key, tag in zip(batch.keys, batch.tags, strict=True)
        ]
        if next_token and any(generated):
            tags = [
                {**tag, "is_padding": not is_generated} for tag, is_generated in zip(batch.tags, generated, strict=True)
            ]
            batch = KVBatchMeta(
                partition_id=batch.partition_id, keys=batch.keys, tags=tags, extra_info=batch.extra_info
            )
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)

    # ------------------------------------------------------------- parts of a batch

    def _generated_keys(self, batch: KVBatchMeta) -> list[str]:
        sft = set(self._sft_keys)
        return [
            key
            for key, tag in zip(batch.keys, batch.tags, strict=True)
            if key not in sft and not tag.get("is_padding", False)
        ]

    def _ranks(self) -> int:
        """Data-parallel ranks of the actor, which verl asks for when it balances a batch."""
        return max(self.actor_rollout_wg._dispatch_info["actor"]) + 1

    def _subset(self, batch: KVBatchMeta, keys: list[str], multiple: int) -> KVBatchMeta:
        """The rows `keys`, filled up to a multiple with others of the batch; all of it if they do not suffice."""
        wanted = set(keys)
        missing = -len(keys) % multiple
        wanted.update([key for key in batch.keys if key not in wanted][:missing])
        return batch.select_keys([key for key in batch.keys if key in wanted])

    def _fill(self, batch: KVBatchMeta, done: KVBatchMeta, *names: str) -> None:
        """Give the rows that a pass left out zeros in the fields it wrote: verl fetches a field of all rows or none."""
        done_keys = set(done.keys)
        left = batch.select_keys([key for key in batch.keys if key not in done_keys])
        if len(left) and names:
            zeros = per_row([0.0] * len(left), _response_lengths(left))
            self._put(left, left.keys, dict.fromkeys(names, zeros))

    def _get(self, batch: KVBatchMeta, keys: list[str], *names: str) -> TensorDict:
        return tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=list(names))

    def _put(self, batch: KVBatchMeta, keys: list[str], fields: dict[str, torch.Tensor]) -> KVBatchMeta:
        return tq.kv_batch_put(
            keys=keys, partition_id=batch.partition_id, fields=TensorDict(fields, batch_size=len(keys))
        )


def _response_lengths(batch: KVBatchMeta) -> torch.Tensor:
    """(rows,) response tokens, from the tags: verl's agent loops and its padding write them beside every row."""
    return torch.tensor([tag["response_len"] for tag in batch.tags])


def _micro_batch(passes: DictConfig) -> int:
    """Rows of which a worker's share of a forward pass must be a multiple; `passes` is verl's section for the pass."""
    return 1 if passes.log_prob_use_dynamic_bsz else passes.log_prob_micro_batch_size_per_gpu
