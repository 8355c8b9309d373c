"""Real training runs for the benchmarks: the same small configuration, and what a run logged."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """A finished run: its metrics by step, the first left out because it warms up, and its wall time in seconds."""

    steps: list[dict]
    seconds: float


def run(name: str, folder: Path, module: list[str], overrides: list[str]) -> Run:
    """Run `python -m <module> <overrides>` to its end."""
    metrics, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    env = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    with log.open("w") as output:
        command = [sys.executable, "-m", *module, *overrides]
        result = subprocess.run(command, env=env, stdout=output, stderr=subprocess.STDOUT, cwd=folder, check=False)
    if result.returncode:
        sys.exit(f"the run '{name}' failed:\n{log.read_text()[-3000:]}")
    return Run(
        [json.loads(line)["data"] for line in metrics.read_text().splitlines()][1:], time.perf_counter() - started
    )


def prepare(folder: Path, model: str | None) -> tuple[str, Path]:
    """The model's folder (a tiny random Qwen2 if none is given) and a folder with the quickstart's data."""
    if model is None:
        model = str(folder / "model")
        subprocess.run([sys.executable, "-m", "recap_verl.lab.tiny", "--out", model], check=True)
    data = folder / "data"
    subprocess.run([sys.executable, "-m", "data_prep", "quickstart", "--out", str(data)], check=True)
    return str(Path(model).resolve()), data


def overrides(model: str, data: Path, steps: int, rollouts: int = 8) -> list[str]:
    """GRPO with 6 prompts a step; one step more than is measured."""
    return [
        f"data.train_files={data}/train.parquet",
        f"data.val_files={data}/val.parquet",
        "data.train_batch_size=6",
        "data.max_prompt_length=1536",
        "data.max_response_length=16",
        "algorithm.adv_estimator=grpo",
        f"actor_rollout_ref.model.path={model}",
        "actor_rollout_ref.actor.ppo_mini_batch_size=6",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16",
        f"actor_rollout_ref.rollout.n={rollouts}",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "trainer.n_gpus_per_node=1",
        "trainer.logger=[file]",
        "trainer.val_before_train=false",
        f"trainer.total_training_steps={steps + 1}",
    ]
