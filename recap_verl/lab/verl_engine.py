"""An arm as a real verl run: `python -m recap_verl.main_ppo` with the arm's settings, and what it logged as records."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from data_prep.writer import atomic_file
from recap_verl.lab.arms import CONFIG
from recap_verl.lab.study import Study
from recap_verl.report.load import Metrics, load_metrics
from recap_verl.verl_adapter.cpu.compat import TRAINER_THREADS

Record = tuple[int, str, str, str, float]
_VALIDATION = re.compile(r"val-aux/(?P<source>.+)/recap_objective/(?P<metric>[^/]+)/mean@1")
_TRAINING = re.compile(r"recap/(?P<kind>reward|loss|token_accuracy)/(?P<domain>[^/]+)(?:/(?P<metric>.+))?")
_SCHEDULER = re.compile(r"recap/(?P<metric>(?:weight|convergence|instability)/.+)")
RUN_WIDE = {"response_length/mean": "response_length", "timing_s/step": "time/step"}


class RunFailed(RuntimeError):
    """verl ended with an error; the message names the log."""


def train(
    model: Path,
    train_files: Sequence[Path],
    val_file: Path,
    domains: Mapping,
    recap: DictConfig,
    study: Study,
    seed: int,
    kl: float,
    run_dir: Path,
    base_scores: Path,
    threads: int | None = None,
) -> list[Record]:
    """Run to the end, from the last checkpoint if there is one, and return everything it logged.

    Args:
        recap: the section `recap` of the arm.
        kl: factor of the KL loss to the base model; 0 for none.
        run_dir: takes checkpoints, log.txt and metrics.jsonl.
        base_scores: greedy validation of the base, which is the same for every arm and seed: written by the first run
            that ends, and from then on read instead of asked for.
        threads: of each process of the run but the trainer's, which takes every core while the others wait; None for
            as many as there are cores. Variables that the user has set come first.

    Raises:
        RunFailed: verl ended with an error.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    domains_file = run_dir / "domains.yaml"
    OmegaConf.save(OmegaConf.create(dict(domains)), domains_file)
    tracker = run_dir / "checkpoints" / "latest_checkpointed_iteration.txt"
    if not (tracker.exists() and tracker.read_text() == str(study.steps)):
        overrides = run_overrides(model, train_files, val_file, domains_file, recap, study, seed, kl, run_dir)
        overrides.append(f"trainer.val_before_train={json.dumps(not base_scores.exists())}")
        environment = {
            **(_threads(threads) if threads else {}),
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VERL_FILE_LOGGER_PATH": str((run_dir / "metrics.jsonl").absolute()),
        }
        with open(run_dir / "log.txt", "a") as log:
            command = [sys.executable, "-m", "recap_verl.main_ppo", *overrides]
            # Hydra leaves its notes in the folder it is started in.
            ended = subprocess.run(
                command, env=environment, cwd=run_dir, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        if ended.returncode:
            raise RunFailed(f"verl ended with status {ended.returncode}: see {run_dir / 'log.txt'}")
    return _with_base_scores(list(records(load_metrics(run_dir))), base_scores)


def _with_base_scores(found: list[Record], file: Path) -> list[Record]:
    """The records with those of the base in front, which are kept for the next run where this one has made them."""
    scores = [record for record in found if record[0] == 0 and record[2] == "greedy"]
    if scores:
        # Runs side by side write the same.
        with atomic_file(file) as kept:
            kept.write(json.dumps(scores).encode())
        return found
    if not file.exists():
        raise RunFailed(
            f"{file}, the base's scores, is gone since the run began: remove the run's folder and run it again"
        )
    return [*(tuple(record) for record in json.loads(file.read_text())), *found]


def _threads(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), TRAINER_THREADS: str(os.cpu_count() or 1)}


def run_overrides(
    model: Path,
    train_files: Sequence[Path],
    val_file: Path,
    domains_file: Path,
    recap: DictConfig,
    study: Study,
    seed: int,
    kl: float,
    run_dir: Path,
) -> list[str]:
    """The hydra overrides of a run."""
    rows = study.prompts * study.rollouts
    reference = ["use_kl_loss=true", f"kl_loss_coef={kl}"] if kl else []
    actor = [
        f"optim.lr={study.learning_rate}",
        f"optim.weight_decay={study.weight_decay}",
        "optim.lr_scheduler_type=cosine",
        f"optim.lr_warmup_steps={study.warm_up}",
        f"grad_clip={study.max_grad_norm}",
        f"ppo_mini_batch_size={study.prompts}",
        f"ppo_micro_batch_size_per_gpu={rows}",
        f"data_loader_seed={seed}",
        "checkpoint.save_contents=[model,optimizer,extra,hf_model]",
        *reference,
    ]
    rollout = [
        f"n={study.rollouts}",
        # Of a small model, what surrounds sampling takes longer than sampling: a second process shares it.
        "agent.num_workers=2",
        f"seed={seed}",
        # As exact as the trainer, so that its own log-probabilities of the rollouts can be done without (below).
        "dtype=float32",
        # Next-token rows alone, at most one for each prompt.
        f"log_prob_micro_batch_size_per_gpu={study.prompts}",
        # A step's rollouts all at once.
        f"max_num_seqs={max(rows, 64)}",
    ]
    trainer = [
        "logger=[file]",
        f"total_training_steps={study.steps}",
        "total_epochs=1000000",
        f"test_freq={study.validate_every}",
        f"save_freq={study.validate_every}",
        "max_actor_ckpt_to_keep=1",
        f"default_local_dir={run_dir.absolute()}/checkpoints",
    ]
    return [
        f"data.train_files=[{','.join(str(Path(file).absolute()) for file in train_files)}]",
        f"data.val_files={Path(val_file).absolute()}",
        f"data.train_batch_size={study.prompts}",
        f"data.max_prompt_length={study.max_prompt_length}",
        f"data.max_response_length={study.max_response_length}",
        f"recap.domains_file={domains_file.absolute()}",
        *_changed(recap),
        f"recap.seed={seed}",
        "algorithm.adv_estimator=grpo",
        # One update a step on rollouts of the very same weights: every ratio is 1 but for rounding.
        "algorithm.rollout_correction.bypass_mode=true",
        f"actor_rollout_ref.model.path={Path(model).absolute()}",
        "actor_rollout_ref.model.enable_gradient_checkpointing=false",
        *(f"actor_rollout_ref.actor.{setting}" for setting in actor),
        *(f"actor_rollout_ref.rollout.{setting}" for setting in rollout),
        *([f"actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu={rows}"] if kl else []),
        *(f"trainer.{setting}" for setting in trainer),
    ]


def _changed(recap: DictConfig) -> Iterator[str]:
    """The keys of the section that differ from `recap_trainer.yaml`, as overrides; domains come in a file."""
    defaults = OmegaConf.load(CONFIG / "recap_trainer.yaml").recap
    for key, value in recap.items():
        if key in ("domains", "domains_file", "seed") or value == defaults[key]:
            continue
        if key == "scheduler":
            yield from (
                f"recap.scheduler.{name}={own}" for name, own in value.items() if own != defaults.scheduler[name]
            )
        elif OmegaConf.is_dict(value):
            yield f"recap.{key}={{{','.join(f'{name}:{own}' for name, own in value.items())}}}"
        else:
            yield f"recap.{key}={json.dumps(value) if isinstance(value, bool) else value}"


def records(metrics: Metrics) -> Iterator[Record]:
    """(step, data source or domain, decoding, metric, value) of everything that the study reports."""
    for step, values in metrics.steps.items():
        for name, value in values.items():
            if match := _VALIDATION.fullmatch(name):
                yield step, match["source"], "greedy", match["metric"], value
            elif match := _SCHEDULER.fullmatch(name):
                if step:
                    yield step, "", "train", match["metric"], value
            elif match := _TRAINING.fullmatch(name):
                metric = f"{match['kind']}/{match['metric']}" if match["metric"] else match["kind"]
                yield step, match["domain"], "train", metric, value
            elif name in RUN_WIDE:
                yield step, "", "train", RUN_WIDE[name], value
