"""A training step with RECAP against plain verl GRPO on the same configuration, and RECAP's own share of it.

    python benchmarks/step_overhead.py [--model FOLDER] [--steps N] [hydra overrides ...]

Without --model a tiny random Qwen2 is built; give the folder of `python -m recap_verl.lab.smollm2` for a real one.
Both runs are real (verl's trainer, vLLM), one after the other; the first step of each, which warms up, is left out.
Generated lengths differ from run to run, so the step times of the two runs are compared as medians; `timing_s/recap`
is measured inside the very step it is a share of.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(name: str, folder: Path, overrides: list[str]) -> list[dict]:
    """Train, and return the metrics of every step but the first."""
    metrics = folder / f"{name}.jsonl"
    env = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics), "HF_HUB_OFFLINE": "1"}
    with open(folder / f"{name}.log", "w") as log:
        command = [sys.executable, "-m", "recap_verl.main_ppo", *overrides]
        result = subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=folder, check=False)
    if result.returncode:
        sys.exit(f"the run '{name}' failed:\n{(folder / f'{name}.log').read_text()[-3000:]}")
    return [json.loads(line)["data"] for line in metrics.read_text().splitlines()][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=10)
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or str(folder / "model")
        if arguments.model is None:
            subprocess.run([sys.executable, "-m", "recap_verl.lab.tiny", "--out", model], check=True)
        data = folder / "data"
        subprocess.run([sys.executable, "-m", "data_prep", "quickstart", "--out", str(data)], check=True)
        same = [
            f"data.train_files={data}/train.parquet",
            f"data.val_files={data}/val.parquet",
            "data.train_batch_size=6",
            "data.max_prompt_length=1536",
            "data.max_response_length=16",
            "algorithm.adv_estimator=grpo",
            f"actor_rollout_ref.model.path={Path(model).resolve()}",
            "actor_rollout_ref.actor.ppo_mini_batch_size=6",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16",
            "actor_rollout_ref.rollout.n=8",
            "actor_rollout_ref.rollout.name=vllm",
            "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
            "trainer.n_gpus_per_node=1",
            "trainer.logger=[file]",
            "trainer.val_before_train=false",
            f"trainer.total_training_steps={arguments.steps + 1}",
            *overrides,
        ]
        with_recap = run("recap", folder, [*same, f"recap.domains_file={data}/domains.yaml"])
        reward = f"reward.custom_reward_function.path={HERE}/plain_reward.py"
        plain = run("plain", folder, [*same, "recap.enable=false", reward])
    own = [step["timing_s/recap"] for step in with_recap]
    shares = [step["timing_s/recap"] / step["timing_s/step"] for step in with_recap]
    median = {name: statistics.median(s["timing_s/step"] for s in r) for name, r in (("r", with_recap), ("p", plain))}
    waiting = statistics.median(step["timing_s/gen"] for step in plain)
    print(f"RECAP's own work per step: median {1e3 * statistics.median(own):.1f} ms, largest {1e3 * max(own):.1f} ms")
    print(f"share of its step:         median {statistics.median(shares):.3%}, largest {max(shares):.3%}")
    print(
        f"median step: {median['r']:.2f} s with RECAP, {median['p']:.2f} s plain, ratio {median['r'] / median['p']:.2f}"
    )
    print(f"(of the plain step, {waiting:.2f} s are generation, which verl looks at every 2 s)")


if __name__ == "__main__":
    main()
