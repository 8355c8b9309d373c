"""A trainer that runs the actor update of one step again and again, in many settings, and keeps each gradient.

Rows, log-probabilities, advantages, weights and updates are those of the real trainer and its real workers; the only
thing that does not happen is the optimizer's step, in whose place the gradient it would apply is written to a file.
"""

import itertools
import math
import os
import zlib
from pathlib import Path

import ray
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.single_controller.base.decorator import Dispatch, register
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from recap_verl.domains import NTP
from recap_verl.scheduler import RecapScheduler
from recap_verl.verl_adapter.hybrid_trainer import ACTOR_ROLES
from recap_verl.verl_adapter.reward_manager import OBJECTIVE
from recap_verl.verl_adapter.trainer import RecapTrainerMixin

# Objectives are kept apart by domain, so that the domains in a batch make up its K: r1 has one, r2 and r3 two each.
CASES = {
    "rl, K=1": ("r1",),
    "rl, K=2": ("r2",),
    "rl, K=5": ("r1", "r2", "r3"),
    "sft, K=1": ("s1",),
    "sft, K=2": ("s1", "s2"),
    "sft, K=5": ("s1", "s2", "s3", "s4", "s5"),
    "mixed, K=2": ("r1", "s1"),
    "mixed, K=5": ("r1", "r2", "s1", "s2"),
}
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")
# Below verl's clip range of 0.2, so that every token's gradient counts.
NOISE = 0.1


def hashed(response, ground_truth, extra_info, *, seed: int = 0) -> float:
    """A reward that differs between responses and means nothing."""
    return zlib.crc32(f"{seed} {response}".encode()) % 11 / 10


class CapturingWorkerMixin:
    """Keeps gradients, and takes settings that verl fixes at the start."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self):
        super().init_model()
        self._hybrid_loss = self.actor.loss_fn
        self.actor.engine.optimizer_step = self._keep_gradient

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def expect(self, path: str, loss_agg_mode: str, micro_batch: int, plain: bool = False):
        """Settings of the next update; `plain` takes the loss function that verl would use."""
        self._path, self._gradients = path, []
        self.actor.set_loss_fn(self.loss_fn if plain else self._hybrid_loss)
        config = self.loss_fn.keywords["config"]
        object.__setattr__(config, "loss_agg_mode", loss_agg_mode)
        object.__setattr__(self.actor.engine_config, "micro_batch_size_per_gpu", micro_batch)

    def _keep_gradient(self) -> float:
        named = self.actor.engine.module.named_parameters()
        gradients = {name: p.grad for name, p in named if p.grad is not None}
        whole = {name: g.full_tensor() if hasattr(g, "full_tensor") else g for name, g in gradients.items()}
        self._gradients.append({name: gradient.clone() for name, gradient in whole.items()})
        if torch.distributed.get_rank() == 0:
            torch.save(self._gradients, self._path)
        return 0.0


class GradientProbe(RecapTrainerMixin, PPOTrainerSync):
    """Runs every case in the modes that GRADIENT_PROBE_MODES lists, then ends the step without an update."""

    def _init_resource_pool_mgr(self):
        super()._init_resource_pool_mgr()
        for role in ACTOR_ROLES:
            if role in self.role_worker_mapping:
                base = self.role_worker_mapping[role].__ray_actor_class__
                self.role_worker_mapping[role] = ray.remote(type("Capturing", (CapturingWorkerMixin, base), {}))

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        out = Path(os.environ["GRADIENT_PROBE_OUT"])
        n, ranks = self.config.actor_rollout_ref.rollout.n, self.config.trainer.n_gpus_per_node
        for (name, domains), mini_batches in itertools.product(CASES.items(), (1, 2)):
            keys = self._keys_of(batch, domains)
            # The fewest prompts whose rollouts make room for the rows in so many mini-batches.
            self.config.actor_rollout_ref.actor.ppo_mini_batch_size = math.ceil(len(keys) / n / mini_batches)
            # Nothing is learnt between epochs, so each has the gradient of the first.
            epochs = 2 if mini_batches == 2 and name.startswith("mixed") else 1
            self.config.actor_rollout_ref.actor.ppo_epochs = epochs
            part = self._prepared(batch, keys)
            mini_batch = self.config.actor_rollout_ref.actor.ppo_mini_batch_size * n // ranks
            rows = out / f"{name}, mini-batches {mini_batches}.rows"
            torch.save(self._rows(part, keys), rows)
            for unequal, mode in itertools.product((False, True), os.environ["GRADIENT_PROBE_MODES"].split(",")):
                weights = self._weigh(unequal)
                self.config.actor_rollout_ref.actor.loss_agg_mode = mode
                part = self._compute_advantage(part, {})
                for micro_batch in (1, mini_batch) if mini_batches == 1 else (mini_batch,):
                    micro = "1" if micro_batch == 1 else "all"
                    label = f"{name}, {mode}, {'un' * unequal}equal, micro-batch {micro}, mini-batches {mini_batches}"
                    self.actor_rollout_wg.expect(str(out / f"{label}.gradient"), mode, micro_batch)
                    part.extra_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
                    super()._update_actor(part, {})
                    case = {"rows": str(rows), "weights": weights, "mode": mode, "epochs": epochs}
                    torch.save(case, out / f"{label}.case")
                if domains == CASES["rl, K=5"]:
                    self.actor_rollout_wg.expect(str(out / f"{label}.plain"), mode, mini_batch, plain=True)
                    super()._update_actor(part, {})
        return batch

    def _keys_of(self, batch: KVBatchMeta, domains: tuple[str, ...]) -> list[str]:
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["data_source"])
        return [
            key
            for key, tag, source in zip(batch.keys, batch.tags, list(data["data_source"]), strict=True)
            if source in domains and not tag.get("is_padding", False)
        ]

    def _prepared(self, batch: KVBatchMeta, keys: list[str]) -> KVBatchMeta:
        """The rows as a batch of their own, padded by verl, with old log-probabilities beside the actor's own."""
        tags = dict(zip(batch.keys, batch.tags, strict=True))
        part = KVBatchMeta(partition_id=batch.partition_id, keys=keys, tags=[tags[key] for key in keys])
        part = self._compute_old_log_prob(self._balance_batch(part, {}), {})
        data = tq.kv_batch_get(keys=part.keys, partition_id=part.partition_id, select_fields=["old_log_probs"])
        noise = torch.Generator().manual_seed(0)
        noisy = [
            row + NOISE * (2 * torch.rand(row.shape, generator=noise) - 1) for row in data["old_log_probs"].unbind()
        ]
        self._put(part, part.keys, {"old_log_probs": torch.nested.as_nested_tensor(noisy, layout=torch.jagged)})
        return part

    def _rows(self, part: KVBatchMeta, keys: list[str]) -> list[dict]:
        fields = ["data_source", "prompts", "responses", "old_log_probs", "extra_fields"]
        data = tq.kv_batch_get(keys=keys, partition_id=part.partition_id, select_fields=fields)
        columns = [data[name].unbind() if data[name].is_nested else list(data[name]) for name in fields[1:4]]
        sources, extra = list(data["data_source"]), list(data["extra_fields"])
        rows = []
        for key, source, prompt, response, old, fields in zip(keys, sources, *columns, extra, strict=True):
            spec = self.domains.of_data_source(source)
            info = fields["reward_extra_info"]
            rewards = (
                {} if spec.is_sft else {f"{source}/{name}": info[f"{OBJECTIVE}{name}"] for name in spec.objectives}
            )
            rows.append({
                "group": key.rsplit("_", 2)[0],
                "prompt": prompt,
                "response": response,
                "old_log_probs": old,
                "rewards": rewards,
                "ntp": f"{source}/{NTP}" if spec.is_sft else None,
            })  # fmt: skip
        return rows

    def _weigh(self, unequal: bool) -> dict[str, float]:
        static = {key: 1.0 + unequal * position / 3 for position, key in enumerate(self._objective_keys)}
        objectives = self.domains.scheduler_objectives()
        self.scheduler = RecapScheduler(objectives, preset="static", static_weights=static)
        return static
