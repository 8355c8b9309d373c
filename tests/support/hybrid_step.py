"""A step with next-token rows without Ray, model and TransferQueue storage: what stands in for them.

`HybridLoss`, estimators and everything of verl's trainer between them are real.
"""

from functools import partial

import torch
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import agg_loss, compute_grpo_outcome_advantage, get_kl_controller
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.workers.config.actor import ActorConfig
from verl.workers.engine.utils import prepare_micro_batches
from verl.workers.utils.losses import ppo_loss

from recap_verl.lab.tiny import build_tokenizer
from recap_verl.parts import build_domains, build_scheduler
from recap_verl.verl_adapter.estimators import NAME
from recap_verl.verl_adapter.hybrid_loss import HybridLoss
from recap_verl.verl_adapter.ntp_fields import HITS, WANT_HITS
from recap_verl.verl_adapter.teacher_forced import CUT
from recap_verl.verl_adapter.trainer import RecapTrainerMixin

N, HORIZON, WIDTH = 4, 9, 6
DOMAINS = {
    "math": {
        "role": "target",
        "objectives": {"accuracy": {"weight": 2.0}, "think_format": {"weight": 0.5}},
    },
    "box": {"objectives": {"iou": {"weight": 1.0}}},
    "ocr": {"kind": "sft", "objectives": {"ntp": {"weight": 3.0}}},
    "text": {"kind": "sft", "objectives": {"ntp": {"weight": 0.25}}},
}
REWARDS = {"math": ("accuracy", "think_format"), "box": ("iou",)}


class Queue:
    """TransferQueue's rows, in memory. A field is a batch's if all its rows have it."""

    def __init__(self):
        self.rows: dict[str, dict] = {}
        self.tags: dict[str, dict] = {}

    def kv_batch_put(self, keys, partition_id, fields=None, tags=None) -> KVBatchMeta:
        for row, key in enumerate(keys):
            self.rows.setdefault(key, {})
            self.tags[key] = tags[row] if tags is not None else self.tags[key]
        for name, column in {} if fields is None else dict(fields.items()).items():
            values = column.unbind() if isinstance(column, torch.Tensor) else column.tolist()
            for key, value in zip(keys, values, strict=True):
                self.rows[key][name] = value
        return KVBatchMeta(keys=keys, tags=[self.tags[key] for key in keys], partition_id=partition_id)

    def kv_batch_get(self, keys, partition_id, select_fields=None) -> TensorDict:
        rows = [self.rows[key] for key in keys]
        shared = set.intersection(*map(set, rows))
        columns = {}
        for name in shared if select_fields is None else [name for name in select_fields if name in shared]:
            values = [row[name] for row in rows]
            is_tensor = isinstance(values[0], torch.Tensor)
            columns[name] = tu.nested_tensor_from_tensor_list(values) if is_tensor else NonTensorStack(*values)
        return TensorDict(columns, batch_size=len(keys))


class Workers:
    """Actor and reference policy: a log-probability per token is all their model is."""

    def __init__(self, queue: Queue, config, ranks: int = 1, micro_batch: int = 2):
        self.queue, self.config, self.micro_batch = queue, config, micro_batch
        self._dispatch_info = {"actor": list(range(ranks))}
        self.passes: list[tuple[list[str], dict]] = []
        self.updates: list[dict] = []
        self.leaves: dict[str, torch.Tensor] = {}

    def compute_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        self.passes.append((list(batch.keys), dict(batch.extra_info)))
        for key in batch.keys:
            row = self.queue.rows[key]
            log_probs = self._log_probs(key)
            row["log_probs"], row["entropy"] = log_probs.detach(), torch.ones_like(log_probs)
            if batch.extra_info.get(WANT_HITS):
                row[HITS] = (log_probs.detach() > -1).float()
        return batch

    def compute_ref_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        self.passes.append((list(batch.keys), dict(batch.extra_info)))
        for key in batch.keys:
            self.queue.rows[key]["log_probs"] = self._log_probs(key).detach() - 0.25
        return batch

    def update_actor(self, batch: KVBatchMeta) -> TensorDict:
        """Gradients of each mini-batch, by row, with verl's loss and micro-batches (no optimizer)."""
        info = batch.extra_info
        data = self.queue.kv_batch_get(batch.keys, batch.partition_id)
        data["number"] = torch.arange(len(batch))
        tu.assign_non_tensor(data, **info, use_dynamic_bsz=False, micro_batch_size_per_gpu=self.micro_batch, dp_size=1)
        for mini_batch in tu.make_iterator(data, info["mini_batch_size"], epochs=1):
            tu.assign_non_tensor(mini_batch, batch_num_tokens=int(mini_batch["loss_mask"].values().sum()))
            loss = 0.0
            for micro_batch in prepare_micro_batches(mini_batch)[0]:
                keys = [batch.keys[number] for number in micro_batch["number"]]
                log_probs = tu.nested_tensor_from_tensor_list([self.leaves[key] for key in keys])
                of_micro_batch, _ = self._loss_fn()(model_output={"log_probs": log_probs}, data=micro_batch)
                of_micro_batch.backward()
                loss += float(of_micro_batch.detach())
            gradients = {key: leaf.grad for key, leaf in self.leaves.items() if leaf.grad is not None}
            for leaf in self.leaves.values():
                leaf.grad = None
            self.updates.append({"loss": loss, "gradients": gradients})
        return {"metrics": {"mfu": 0.0}}

    def _log_probs(self, key: str) -> torch.Tensor:
        if key not in self.leaves:
            draw = torch.Generator().manual_seed(len(self.leaves))
            size = len(self.queue.rows[key]["input_ids"])
            self.leaves[key] = (-torch.randn(size, generator=draw).exp()).requires_grad_()
        return self.leaves[key]

    def _loss_fn(self) -> HybridLoss:
        actor = self.config.actor_rollout_ref.actor
        config = ActorConfig(
            strategy="fsdp",
            rollout_n=N,
            ppo_micro_batch_size_per_gpu=1,
            loss_agg_mode=actor.loss_agg_mode,
            loss_scale_factor=actor.loss_scale_factor,
        )
        return HybridLoss(partial(ppo_loss, config=config), self.config.recap.ntp.kl)


class Trainer(RecapTrainerMixin, PPOTrainerSync):
    """The real one, without what verl sets up with Ray."""

    def __init__(self, config, workers: Workers, critic: bool = False):
        self.config, self.domains = config, build_domains(config)
        self.scheduler = build_scheduler(config, self.domains)
        self._objective_keys = list(self.domains.scheduler_objectives())
        self._base_estimator = config.algorithm.adv_estimator
        if self._base_estimator != "gae":
            config.algorithm.adv_estimator = NAME
        self.actor_rollout_wg = self.ref_policy_wg = workers
        self.tokenizer, self.global_steps, self.trainer_mode = build_tokenizer(), 1, "sync"
        self.use_critic, self.ref_in_actor, self.distillation_config = critic, False, None
        self.kl_ctrl_in_reward = get_kl_controller(config.algorithm.kl_ctrl)
        self._rollout_moe_lb_metrics_accumulator = None
        self.timing_raw, self._step_metrics, self._next_token_keys_of_step = {}, {}, set()

    def _get_n_gpus_for_throughput(self) -> int:
        return 1

    def update(self, batch: KVBatchMeta, until: str | None = None) -> tuple[KVBatchMeta, dict]:
        """What verl 0.9.1's `_step_once` does with a batch, up to a method."""
        steps = ["balance_batch", "compute_old_log_prob", "compute_advantage", "update_actor"]
        if self.config.actor_rollout_ref.actor.use_kl_loss or self.config.algorithm.use_kl_in_reward:
            steps.insert(2, "compute_ref_log_prob")
        metrics: dict = {}
        for name in steps:
            batch = getattr(self, f"_{name}")(batch, metrics)
            if name == until:
                break
        return batch, metrics


class Rows:
    """Fills a queue as verl's agent loops do (verl 0.9.1, `agent_loop_tq.py`)."""

    def __init__(self, queue: Queue):
        self.queue, self.keys, self.prompts = queue, [], 0

    def _put(self, key: str, source: str, size: int, mask: int, extra: dict):
        prompt = 2 + len(self.keys) % 3
        length = size if size else 1 + (5 * len(self.keys)) % WIDTH
        response_mask = torch.full((length,), mask)
        self.queue.rows[key] = {
            "uid": key.rsplit("_", 2)[0],
            "data_source": source,
            "prompts": torch.zeros(prompt, dtype=torch.int64),
            "responses": torch.ones(length, dtype=torch.int64),
            "input_ids": torch.zeros(prompt + length, dtype=torch.int64),
            "position_ids": torch.arange(prompt + length),
            "response_mask": response_mask,
            "loss_mask": response_mask,
            "rm_scores": torch.zeros(length),
            "num_turns": 2,
            "extra_fields": extra,
            "rollout_log_probs": torch.zeros(length) - 3.0 * mask,
        }
        lengths = {"prompt_len": prompt, "response_len": length, "seq_len": prompt + length}
        self.queue.tags[key] = {"status": "success", **lengths, "min_global_steps": 0, "max_global_steps": 0}
        self.keys.append(key)

    def generated(self, source: str, prompts: int = 1, failed: bool = False):
        """Prompts with N rollouts each, whose rewards are drawn by their number."""
        for _ in range(prompts):
            self.prompts += 1
            for rollout in range(N):
                draw = torch.Generator().manual_seed(len(self.keys))
                info = {"recap_errors": 0, "recap_symbolic_cutoffs": 0}
                for name in REWARDS[source]:
                    info[f"recap_objective/{name}"] = None if failed else float(torch.rand(1, generator=draw))
                self._put(f"u{self.prompts}_{rollout}_0", source, 0, 1, {"reward_extra_info": info})
        return self

    def reference(self, source: str, prompts: int = 1):
        for _ in range(prompts):
            self.prompts += 1
            extra = {"reward_extra_info": {"acc": 0.0}, CUT: False}
            self._put(f"u{self.prompts}_0_0", source, 0, 0, extra)
        return self

    def meta(self) -> KVBatchMeta:
        tags = [self.queue.tags[key] for key in self.keys]
        return KVBatchMeta(keys=list(self.keys), tags=tags, partition_id="train")


# ----------------------------------------------------------------- the loss of a step, written down independently


class Reference:
    """`(1/K) sum_k weight_k L_k` over the rows of a batch, with verl's aggregation of each objective's rows alone."""

    def __init__(self, trainer: Trainer, keys: list[str], mode: str):
        self.queue, self.mode = trainer.actor_rollout_wg.queue, mode
        self.keys = keys
        leaves = trainer.actor_rollout_wg.leaves
        self.leaves = {key: leaves[key].detach().clone().requires_grad_() for key in keys}
        of_keys = {key: self.queue.rows[key]["data_source"] for key in keys}
        self.carriers: dict[str, list[str]] = {}
        for key, source in of_keys.items():
            for name in REWARDS.get(source, ("ntp",)):
                if name == "ntp" or self.reward(key, name) is not None:
                    self.carriers.setdefault(f"{source}/{name}", []).append(key)
        weights = {name: trainer.scheduler.weights[name] for name in self.carriers}
        mean = sum(weights.values()) / len(weights)
        self.weights = {name: weight / mean for name, weight in weights.items()}

    def reward(self, key: str, name: str):
        return self.queue.rows[key]["extra_fields"]["reward_extra_info"][f"recap_objective/{name}"]

    def _padded(self, values: list[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)

    def log_probs(self, keys: list[str]) -> torch.Tensor:
        sizes = [len(self.queue.rows[key]["responses"]) for key in keys]
        return self._padded([self.leaves[key][-size - 1 : -1] for key, size in zip(keys, sizes, strict=True)])

    def mask(self, keys: list[str]) -> torch.Tensor:
        return self._padded([torch.ones(len(self.queue.rows[key]["responses"])) for key in keys])

    def advantages(self, keys: list[str], rewards: list[float]) -> torch.Tensor:
        mask = self.mask(keys)
        outcome = torch.zeros_like(mask)
        outcome[:, 0] = torch.tensor(rewards)
        groups = [self.queue.rows[key]["uid"] for key in keys]
        return compute_grpo_outcome_advantage(outcome, mask, groups)[0]

    def surrogate(self, keys: list[str], advantages: torch.Tensor) -> torch.Tensor:
        """Per token: `-A * ratio` at ratio 1, where verl's clipping does nothing."""
        log_probs = self.log_probs(keys)
        return -advantages * (log_probs - log_probs.detach()).exp()

    def losses(self) -> dict[str, torch.Tensor]:
        losses = {}
        for name, keys in self.carriers.items():
            objective = name.rsplit("/", 1)[1]
            if objective == "ntp":
                matrix = -self.log_probs(keys)
            else:
                matrix = self.surrogate(keys, self.advantages(keys, [self.reward(key, objective) for key in keys]))
            losses[name] = agg_loss(matrix, self.mask(keys), self.mode, loss_scale_factor=HORIZON)
        return losses

    def total(self) -> torch.Tensor:
        losses = self.losses()
        return sum(self.weights[name] * loss for name, loss in losses.items()) / len(losses)

    def gradients(self, loss: torch.Tensor) -> dict[str, torch.Tensor]:
        loss.backward()
        return {key: leaf.grad for key, leaf in self.leaves.items()}


def gradients_of(trainer: Trainer, mode: str) -> dict[str, torch.Tensor]:
    """What the updates of the step come to: the sum of a sum, the mean of everything else."""
    updates = trainer.actor_rollout_wg.updates
    share = 1.0 if mode == "token-sum" else 1 / len(updates)
    total: dict[str, torch.Tensor] = {}
    for update in updates:
        for key, gradient in update["gradients"].items():
            total[key] = total.get(key, 0.0) + share * gradient
    return total


def assert_gradients(actual: dict, expected: dict):
    for key, gradient in expected.items():
        torch.testing.assert_close(actual[key], gradient, atol=1e-6, rtol=1e-4, msg=lambda m, k=key: f"row {k}: {m}")
    for key in actual.keys() - expected.keys():
        assert (actual[key] == 0).all(), f"padding row {key}"
