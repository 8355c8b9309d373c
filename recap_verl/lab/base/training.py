"""Plain supervised training of the base, from scratch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from recap_verl.lab.base.lessons import Lessons, unpack
from recap_verl.lab.fast.vl_policy import VLPolicy

# Log-probability that vision tokens are pushed under.
IMPOSSIBLE = -20.0


@dataclass(frozen=True)
class Schooling:
    """How the base is trained; part of the digest that tells whether a base has to be trained again."""

    steps: int = 2400
    batch_size: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 100
    seed: int = 0


def train(policy: VLPolicy, schooling: Schooling, log: Callable[[str], None] = print) -> list[float]:
    """Train `policy` in place; the loss of each step, nats per token.

    AdamW, warm-up and a cosine to a tenth of the learning rate.
    """
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=schooling.learning_rate, weight_decay=0.01, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schooling))
    # One worker: its order is the seed's alone.
    batches = DataLoader(
        Lessons(policy.processor, schooling.seed),
        schooling.batch_size,
        num_workers=1,
        collate_fn=list,
        prefetch_factor=8,
        multiprocessing_context="fork",
    )
    losses, started = [], time.perf_counter()
    for step, batch in enumerate(batches, start=1):
        rows, responses = zip(*map(unpack, batch), strict=True)
        loss = lesson_loss(policy, rows, responses)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 200 == 0:
            recent = sum(losses[-200:]) / 200
            log(f"step {step} of {schooling.steps}: loss {recent:.3f}, {time.perf_counter() - started:.0f} s")
        if step == schooling.steps:
            break
    return losses


def lesson_loss(policy: VLPolicy, rows: Sequence[dict], responses: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean negative log-likelihood per token, plus what keeps vision tokens from being sampled.

    A vision token without an image breaks the position index of every later pass, in training and in vLLM alike.
    Likelihood alone leaves each of them a probability of about 1e-6: seldom, but a run draws 1e5 tokens.
    """
    log_probs = torch.cat(policy.distributions(rows, responses))
    nll = -log_probs.gather(1, torch.cat(list(responses))[:, None]).mean()
    too_likely = (log_probs[:, policy.never] - IMPOSSIBLE).clamp(min=0)
    return nll + 0.1 * too_likely.mean()


def _rate(step: int, schooling: Schooling) -> float:
    if step < schooling.warm_up:
        return (step + 1) / schooling.warm_up
    progress = (step - schooling.warm_up) / max(1, schooling.steps - schooling.warm_up)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress)))
