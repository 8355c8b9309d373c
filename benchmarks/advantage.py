"""Time weighted_advantages against verl's GRPO and GDPO and against one pass over the (batch, length) output.

Run: python benchmarks/advantage.py
All four get the same rewards, groups and int64 response mask in the same process and take turns; medians are shown.
"""

import statistics
import time
import uuid

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_gdpo_outcome_advantage, compute_grpo_outcome_advantage

from recap_verl.advantage import weighted_advantages

BATCHES = (512, 4096, 16384)
OBJECTIVES = (1, 4, 8)
GROUP_SIZE = 8
LENGTH = 2048
PROMPT_LENGTH = 16
# verl's estimators walk over the rows in Python: seconds a call on large batches, so those get fewer turns.
REPEATS = {512: 15, 4096: 9, 16384: 5}
VERL_REPEATS = {512: 5, 4096: 5, 16384: 3}


def make_case(batch: int, objectives: int) -> dict:
    generator = torch.Generator().manual_seed(batch + objectives)
    lengths = torch.randint(LENGTH // 4, LENGTH + 1, (batch, 1), generator=generator)
    response_mask = (torch.arange(LENGTH) < lengths).long()
    rewards = torch.rand(batch, objectives, generator=generator)
    token_level_rewards = torch.zeros(batch, LENGTH)
    token_level_rewards[torch.arange(batch), lengths[:, 0] - 1] = rewards.sum(dim=1)
    keys = [f"objective_{k}" for k in range(objectives)]
    return {
        "rewards": rewards,
        "weights": [1.0] * objectives,
        "groups": np.array([str(uuid.uuid4()) for _ in range(batch // GROUP_SIZE)], dtype=object).repeat(GROUP_SIZE),
        "response_mask": response_mask,
        "token_level_rewards": token_level_rewards,
        "config": {"gdpo_reward_keys": keys, "gdpo_reward_weights": [1.0] * objectives},
        "non_tensor_batch": {key: rewards[:, k].numpy() for k, key in enumerate(keys)},
        "batch": {
            "prompts": torch.zeros(batch, PROMPT_LENGTH, dtype=torch.long),
            "attention_mask": torch.cat([torch.ones(batch, PROMPT_LENGTH, dtype=torch.long), response_mask], dim=1),
        },
    }


def contenders(case: dict) -> dict:
    mask, groups = case["response_mask"], case["groups"]
    token_level_rewards, scores = case["token_level_rewards"], case["rewards"].sum(dim=1)
    gdpo_inputs = {key: case[key] for key in ("config", "non_tensor_batch", "batch")}
    return {
        "ours": lambda: weighted_advantages(case["rewards"], case["weights"], groups, mask),
        "one pass": lambda: scores[:, None] * mask,
        "grpo": lambda: compute_grpo_outcome_advantage(token_level_rewards, mask, groups),
        "gdpo": lambda: compute_gdpo_outcome_advantage(token_level_rewards, mask, groups, **gdpo_inputs),
    }


def median_ms(functions: dict, batch: int) -> dict[str, float]:
    turns = {name: VERL_REPEATS[batch] if name in ("grpo", "gdpo") else REPEATS[batch] for name in functions}
    times = {name: [] for name in functions}
    for name in ("ours", "one pass"):
        functions[name]()
    for turn in range(max(turns.values())):
        for name, function in functions.items():
            if turn < turns[name]:
                start = time.perf_counter()
                function()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    # As in training: Ray starts verl's trainer process, where advantages are computed, with one thread.
    torch.set_num_threads(1)
    print(f"length {LENGTH}, groups of {GROUP_SIZE}, one thread; milliseconds, medians")
    print(f"{'batch':>6} {'K':>2} {'ours':>9} {'one pass':>9} {'grpo':>9} {'gdpo':>10}", end="")
    print(f" {'gdpo/ours':>10} {'grpo/ours':>10} {'ours/one pass':>14}")
    for batch in BATCHES:
        for objectives in OBJECTIVES:
            ms = median_ms(contenders(make_case(batch, objectives)), batch)
            ours = ms["ours"]
            print(f"{batch:>6} {objectives:>2} {ours:>9.2f} {ms['one pass']:>9.2f}", end="")
            print(f" {ms['grpo']:>9.1f} {ms['gdpo']:>10.1f}", end="")
            print(f" {ms['gdpo'] / ours:>10.1f} {ms['grpo'] / ours:>10.1f} {ours / ms['one pass']:>14.2f}", flush=True)


if __name__ == "__main__":
    main()
