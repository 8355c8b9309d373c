"""RECAP inside verl's v1 trainers (verl 0.9.1, ``trainer/ppo/v1/trainer_base.py``).

    class Mine(RecapTrainerMixin, TheirTrainer): ...

works over every subclass of ``PPOTrainer``, sync or asynchronous: the mixin overrides steps that all of them share and
calls the original in each.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torchdata.stateful_dataloader import StatefulDataLoader
from transfer_queue import KVBatchMeta
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.debug import marked_timer

from recap_verl.parts import build_domains, build_sampler, build_scheduler
from recap_verl.verl_adapter import checkpoint
from recap_verl.verl_adapter.estimators import NAME, StepRewards, step_rewards
from recap_verl.verl_adapter.hybrid_trainer import NextTokenRowsMixin
from recap_verl.verl_adapter.step_data import COUNTS, StepData

logger = logging.getLogger(__name__)
logger.setLevel(os.getenv("VERL_LOGGING_LEVEL", "INFO"))


class RecapTrainerMixin(NextTokenRowsMixin):
    """Replay, per-objective advantages, next-token rows and online weights, layered over a verl trainer."""

    def __init__(self, config: DictConfig):
        super().__init__(config)
        self.domains = build_domains(config)
        self.scheduler = build_scheduler(config, self.domains)
        self._objective_keys = list(self.domains.scheduler_objectives())
        self._baseline: dict[str, float] = {}
        self._step_metrics: dict[str, list[float]] = {}
        self.replay_buffer.poll_interval = config.recap.poll_interval
        self._base_estimator = config.algorithm.adv_estimator
        if self._base_estimator != "gae":
            # verl then asks our estimator, which applies the user's to each objective.
            config.algorithm.adv_estimator = NAME

    # ------------------------------------------------------------------ replay

    def _init_dataloader(self):
        """verl's data sets, with a training loader that draws from ``ReplaySampler``."""
        super()._init_dataloader()
        data = self.config.data
        sources = self.train_dataset.dataframe["data_source"]
        names = [self.domains.of_data_source(source).name for source in sources]
        self.domains.check_loaded(set(names))
        self.replay_sampler = build_sampler(
            self.config, self.domains, names, data.train_batch_size, self.config.recap.seed
        )
        self.train_dataloader = self._replay_dataloader()
        self._set_total_steps(len(self.replay_sampler) // data.train_batch_size)

    def _replay_dataloader(self) -> StatefulDataLoader:
        data = self.config.data
        return StatefulDataLoader(
            dataset=self.train_dataset,
            batch_size=data.get("gen_batch_size", None) or data.train_batch_size,
            num_workers=data["dataloader_num_workers"],
            drop_last=True,
            collate_fn=self._hybrid_collate() if self.domains.sft else collate_fn,
            sampler=self.replay_sampler,
        )

    def _set_total_steps(self, steps_per_epoch: int) -> None:
        """An epoch is the sampler's; verl counted the data set's rows, and told the optimizers so."""
        self.steps_per_epoch = steps_per_epoch
        if self.config.trainer.total_training_steps is not None:
            return
        self.total_training_steps = steps_per_epoch * self.config.trainer.total_epochs
        with open_dict(self.config):
            for optimizer in ("actor_rollout_ref.actor.optim", "critic.optim"):
                if OmegaConf.select(self.config, optimizer):
                    key = f"{optimizer}.total_training_steps"
                    OmegaConf.update(self.config, key, self.total_training_steps * self.parameter_sync_step)

    # ------------------------------------------------------- rewards to weights

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Observe the step's rewards, then let verl compute advantages with the weights they give."""
        with marked_timer("recap", self.timing_raw):
            step = StepData.fetch(batch, self.domains, self._objective_keys, self._sft_keys)
            observed = step.objective_means()
            if observed:
                self.scheduler.observe(observed)
            if self.config.recap.mixture_follows_weights:
                self.replay_sampler.follow(self.domains.domain_weights(self.scheduler.weights))
            self._collect(step.metrics())
            # Objectives absent from this batch leave the mean weight of those in it at 1: a changed mean would change
            # the learning rate.
            columns, weights = step.present(self.scheduler.weights)
            rewards = step.rewards[:, columns]
        if step.ntp is None:
            return self._compute_rl_advantage(batch, metrics, step, rewards, weights)
        return self._compute_mixed_advantage(batch, metrics, step, columns, weights)

    def _compute_rl_advantage(
        self, batch, metrics, step: StepData, rewards, weights, batch_rows: int | None = None, scale: float = 1.0
    ) -> KVBatchMeta:
        """verl's advantages of RL rows, weighted.

        Args:
            batch_rows: see ``StepRewards``.
            scale: factor of what they would be without next-token rows in the step.
        """
        if self._base_estimator == "gae":
            self._put_scalar_reward(batch, step, rewards, weights)
            batch = super()._compute_advantage(batch, metrics)
            return batch if scale == 1 else self._scale_advantages(batch, scale)
        actor = self.config.actor_rollout_ref.actor
        context = StepRewards(
            rewards=rewards,
            weights=weights,
            session=step.session,
            final=step.final,
            scores=step.scores,
            base_estimator=self._base_estimator,
            loss_agg_mode=actor.loss_agg_mode,
            weight_on=self.config.recap.weight_on,
            objective_mean=self.config.recap.objective_mean,
            normalize_std=self.config.algorithm.get("norm_adv_by_std_in_grpo", True),
            batch_rows=batch_rows,
            scale=scale,
            timing=self.timing_raw,
        )
        with step_rewards(context):
            return super()._compute_advantage(batch, metrics)

    def _put_scalar_reward(self, batch: KVBatchMeta, step: StepData, rewards, weights) -> None:
        """Replace verl's scores by the weighted mean of each row's objectives, for a critic to learn."""
        carried = (~rewards.isnan()).sum(dim=1).clamp(min=1)
        scalar = (rewards * weights).nansum(dim=1) / carried
        scores = torch.nested.as_nested_tensor(
            [_at_end(length, value) for length, value in zip(step.lengths, scalar.tolist(), strict=True)],
            layout=torch.jagged,
        )
        self._put(batch, batch.keys, {"rm_scores": scores})

    # ------------------------------------------------------------------ metrics

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """verl's step, with RECAP's metrics added after verl has reduced its own.

        (verl reduces by words in a metric's name, so an objective called "summary" would be summed up.)
        """
        self._step_metrics = {}
        batch = super().step(metrics, timing_raw)
        for name, values in self._step_metrics.items():
            metrics[name] = sum(values) if name in COUNTS else sum(values) / len(values)
        metrics.update(self.scheduler.metrics())
        return batch

    def _collect(self, metrics: dict[str, float]) -> None:
        """Keep one update's metrics; a step of several updates logs their mean, or their sum for counts."""
        for name, value in metrics.items():
            self._step_metrics.setdefault(name, []).append(value)

    def _validate(self) -> dict[str, float]:
        """verl's validation plus ``recap/retention/<data_source>``: the score minus the score before training."""
        metrics = super()._validate()
        names = {source: _score_name(metrics, source) for source in self.domains.data_sources}
        scores = {source: float(metrics[name]) for source, name in names.items() if name is not None}
        if self.global_steps == 0:
            self._baseline = scores
        for source, before in self._baseline.items():
            if source in scores:
                metrics[f"recap/retention/{source}"] = scores[source] - before
        return metrics

    def fit(self, agent_loop_manager):
        """verl's loop; the metrics file of an earlier start of this run is kept beside the new one."""
        if "file" in self.config.trainer.logger:
            _keep(_metrics_file(self.config))
        super().fit(agent_loop_manager)

    # --------------------------------------------------------------- checkpoint

    def _save_checkpoint(self):
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        state = {
            "global_step": self.global_steps,
            "scheduler": self.scheduler.state_dict(),
            "baseline": self._baseline,
        }
        checkpoint.write_state(folder, state)
        super()._save_checkpoint()
        print(f"recap: saved the state of step {self.global_steps}, {_digest(state)}", flush=True)

    def _load_checkpoint(self):
        folder = checkpoint.resume_folder(self.config)
        if folder is None:
            super()._load_checkpoint()
            return
        # Read before verl loads anything: a state that does not fit must change nothing.
        fresh = checkpoint.is_fresh_start(self.config, folder)
        state = None if fresh else checkpoint.read_state(folder)
        if state is not None:
            checkpoint.restore_scheduler(self.scheduler, state, folder)
            self._baseline = state["baseline"]
        super()._load_checkpoint()
        if fresh:
            # verl has just given this loader the state of a sampler of another kind.
            self.train_dataloader = self._replay_dataloader()
        if state is not None:
            # The loader hands its state to the sampler only now: data that changed since are found here, not at the
            # first step.
            self.train_dataloader_it = iter(self.train_dataloader)
            state = {key: state[key] for key in ("global_step", "scheduler", "baseline")}
            state["scheduler"] = self.scheduler.state_dict()
            print(f"recap: restored the state of step {self.global_steps}, {_digest(state)}", flush=True)


def _score_name(metrics: dict[str, float], data_source: str) -> str | None:
    """The validation metric that holds a data source's main score (``val-core/<source>/acc/mean@N``)."""
    prefix = f"val-core/{data_source}/acc/mean@"
    return next((name for name in metrics if name.startswith(prefix)), None)


def _at_end(length: int, value: float) -> torch.Tensor:
    scores = torch.zeros(length, dtype=torch.float32)
    scores[-1] = value
    return scores


def _digest(state: dict) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


def _metrics_file(config: DictConfig) -> Path:
    """Where verl's file logger is going to write (verl 0.9.1, ``utils/tracking.py:FileLogger``)."""
    if path := os.environ.get("VERL_FILE_LOGGER_PATH"):
        return Path(path)
    root = Path(os.environ.get("VERL_FILE_LOGGER_ROOT", ".")).expanduser()
    return root / config.trainer.project_name / f"{config.trainer.experiment_name}.jsonl"


def _keep(path: Path) -> None:
    """verl's file logger truncates its file: move what an interrupted run left to ``<name>.<k>.jsonl``."""
    if not path.exists() or path.stat().st_size == 0:
        return
    k = 1
    while (kept := path.with_name(f"{path.stem}.{k}{path.suffix}")).exists():
        k += 1
    path.rename(kept)
