"""The weighted loss written out row by row, with nothing of verl or recap_verl in it."""

from collections import defaultdict
from functools import cache

import torch
from transformers import AutoModelForCausalLM

CLIP, HORIZON, EPSILON = 0.2, 16, 1e-6


def reference_gradient(model_folder: str, case: dict, temperature: float) -> dict[str, torch.Tensor]:
    """Gradient of (1/K) * sum_k lambda_k * L_k by parameter name, for a case of the gradient probe."""
    rows, scored = scored_rows(model_folder, case["rows"], temperature)
    losses = defaultdict(list)
    for row, log_prob, advantages in zip(rows, scored, group_advantages(rows), strict=True):
        if row["ntp"]:
            losses[row["ntp"]].append(-log_prob)
        else:
            ratio = (log_prob - row["old_log_probs"]).exp()
            for objective, advantage in advantages.items():
                clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
                losses[objective].append(-torch.minimum(ratio * advantage, clipped * advantage))
    mean_weight = sum(case["weights"][k] for k in losses) / len(losses)
    loss = sum(case["weights"][k] / mean_weight * aggregate(of_k, case["mode"]) for k, of_k in losses.items())
    names, parameters = zip(*reference_model(model_folder).named_parameters(), strict=True)
    # The rows' graph stays, for the next mode and other weights.
    gradients = torch.autograd.grad(loss / len(losses), parameters, retain_graph=True, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


@cache
def reference_model(model_folder: str):
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)


@cache
def scored_rows(model_folder: str, file: str, temperature: float) -> tuple[list[dict], list[torch.Tensor]]:
    """Rows, and for each (length,) log-probabilities of its response; of reference tokens at temperature 1."""
    model, rows = reference_model(model_folder), torch.load(file)
    return rows, [log_probs(model, row, 1.0 if row["ntp"] else temperature) for row in rows]


def log_probs(model, row: dict, temperature: float) -> torch.Tensor:
    """(length,) log-probabilities of the response's tokens."""
    ids = torch.cat([row["prompt"], row["response"]])
    logits = model(ids[None]).logits[0] / temperature
    start = len(row["prompt"])
    return torch.log_softmax(logits, dim=-1)[torch.arange(start - 1, len(ids) - 1), row["response"]]


def group_advantages(rows: list[dict]) -> list[dict[str, float]]:
    """For each row objective -> (reward - mean of its group) / (std of its group + epsilon)."""
    groups = defaultdict(list)
    for row in rows:
        for objective, reward in row["rewards"].items():
            groups[row["group"], objective].append(reward)

    def advantage(row: dict, objective: str) -> float:
        rewards = torch.tensor(groups[row["group"], objective], dtype=torch.float64)
        return float((row["rewards"][objective] - rewards.mean()) / (rewards.std() + EPSILON))

    return [{objective: advantage(row, objective) for objective in row["rewards"]} for row in rows]


def aggregate(rows: list[torch.Tensor], mode: str) -> torch.Tensor:
    """L_k: the token losses of the rows of one objective, aggregated as verl's loss_agg_mode says."""
    if mode == "token-mean":
        return torch.cat(rows).mean()
    if mode == "token-sum":
        return torch.cat(rows).sum()
    if mode == "seq-mean-token-sum":
        return torch.stack([row.sum() for row in rows]).mean()
    if mode == "seq-mean-token-sum-norm":
        return torch.stack([row.sum() for row in rows]).mean() / HORIZON
    return torch.stack([row.mean() for row in rows]).mean()
