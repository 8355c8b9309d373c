"""A step with a third of its prompts answered by reference, against RL rows alone and against two separate runs.

    python benchmarks/hybrid_step.py [--model FOLDER] [--steps N] [hydra overrides ...]

Four real runs, one after the other: RL on six prompts a step; RL on four and next-token loss on two (`kind: sft`); and,
for the same work in two runs, RL on four prompts, then verl's own SFT trainer on two rows a step. Step times are
medians without the first step. The two separate runs are compared by wall time, each with its start, since whoever
alternates pays for a start at every turn.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import verl_run

TRAINER = ["recap_verl.main_ppo"]
SFT_TRAINER = ["torch.distributed.run", "--standalone", "--nproc_per_node=1", "-m", "verl.trainer.sft_trainer"]
PARTS = ("gen", "old_log_prob", "adv", "update_actor", "update_weights")
SFT_PROMPTS = 2


def answer(row: dict) -> str:
    return f"<answer>{json.loads(row['reward_model']['ground_truth'])}</answer>"


def sft_overrides(model: str, data: Path, folder: Path, steps: int) -> list[str]:
    """verl's SFT trainer on the same rows, in its own format."""
    rows = [row for row in pq.read_table(data / "train.parquet").to_pylist() if row["data_source"] == "text/capitals"]
    messages = [[*row["prompt"], {"role": "assistant", "content": answer(row)}] for row in rows]
    pq.write_table(pa.Table.from_pylist([{"messages": turns} for turns in messages]), folder / "sft.parquet")
    return [
        f"data.train_files={folder / 'sft.parquet'}",
        f"data.train_batch_size={SFT_PROMPTS}",
        f"data.micro_batch_size_per_gpu={SFT_PROMPTS}",
        "data.max_length=2048",
        "data.num_workers=0",
        f"model.path={model}",
        "model.use_remove_padding=false",
        "+model.override_config.attn_implementation=sdpa",
        "engine.strategy=fsdp2",
        "engine.use_torch_compile=false",
        "trainer.device=cpu",
        "trainer.logger=[file]",
        "trainer.total_epochs=100",
        f"trainer.total_training_steps={steps + 1}",
        f"trainer.default_local_dir={folder / 'sft'}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=10)
    arguments, extra = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, data = verl_run.prepare(folder, arguments.model)
        same = [
            *verl_run.overrides(model, data, arguments.steps),
            f"recap.domains_file={data}/domains.yaml",
            *extra,
        ]
        sft = ["+recap.domains.capitals.kind=sft", "+recap.domains.capitals.template='<answer>{}</answer>'"]
        four = ["recap.mixture={last:1,upper:1,capitals:0}", "data.train_batch_size=4"]
        four += ["actor_rollout_ref.actor.ppo_mini_batch_size=4"]
        runs = {
            "rl": verl_run.run("rl", folder, TRAINER, same),
            "hybrid": verl_run.run("hybrid", folder, TRAINER, [*same, *sft]),
            "rl on four": verl_run.run("rl4", folder, TRAINER, [*same, *four]),
        }
        separate = verl_run.run("sft", folder, SFT_TRAINER, sft_overrides(model, data, folder, arguments.steps))
    for name, result in runs.items():
        parts = {part: statistics.median(step.get(f"timing_s/{part}", 0.0) for step in result.steps) for part in PARTS}
        step = median_step(result)
        print(f"{name:11s} {step:6.2f} s a step: " + ", ".join(f"{part} {value:.2f}" for part, value in parts.items()))
    ratio = median_step(runs["hybrid"]) / median_step(runs["rl"])
    print(f"a third of next-token rows against RL rows alone: {ratio:.2f} of the step")
    together, apart = runs["hybrid"].seconds, (runs["rl on four"].seconds, separate.seconds)
    print(
        f"{arguments.steps + 1} steps, wall time with start: {together:.0f} s in one run, "
        f"{apart[0]:.0f} s + {apart[1]:.0f} s in two, ratio {together / sum(apart):.2f}"
    )


def median_step(result: verl_run.Run) -> float:
    return statistics.median(step["timing_s/step"] for step in result.steps)


if __name__ == "__main__":
    main()
