"""GRPO and next-token learning on one model in one process."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from recap_verl.domains import Domains
from recap_verl.lab.fast.loss import LossSettings, StepRows, step_loss
from recap_verl.lab.fast.policy import Policy
from recap_verl.lab.fast.scoring import mean_by_source, score, validate
from recap_verl.lab.study import Study
from recap_verl.parts import build_sampler, build_scheduler

TRAIN = "train"
Record = tuple[int, str, str, str, float]


class FastEngine:
    """One run.

    Args:
        policy: the model, changed in place.
        base: a second copy of it for the KL loss, None where there is none.
        rows: training rows of the parquet contract.
        validation: rows that `validate` scores.
        domains: of all of them.
        config: with the section `recap`, see `recap_verl.lab.arms`.
        study: everything that all arms share.
        seed: of sampler and rollouts.
        kl: factor of the KL loss.
    """

    def __init__(
        self,
        policy: Policy,
        base: Policy | None,
        rows: Sequence[dict],
        validation: Sequence[dict],
        domains: Domains,
        config: DictConfig,
        study: Study,
        seed: int,
        kl: float = 0.0,
    ):
        self.policy, self.base, self.rows, self.validation = policy, base, rows, validation
        self.domains, self.study = domains, study
        self.keys = list(domains.scheduler_objectives())
        self.scheduler = build_scheduler(config, domains)
        self.settings = LossSettings(config.recap.objective_mean, config.recap.weight_on, kl)
        names = [domains.of_data_source(row["data_source"]).name for row in rows]
        self.sampler = build_sampler(config, domains, names, study.prompts, seed)
        self.mixture_follows_weights = config.recap.mixture_follows_weights
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=study.learning_rate, weight_decay=study.weight_decay
        )
        self.schedule = get_cosine_schedule_with_warmup(self.optimizer, study.warm_up, study.steps)
        self.step = 0

    def run(self, progress: Callable[[int], None] = lambda step: None) -> Iterator[Record]:
        """All steps, with (step, data source or domain, decoding, metric, value) of each as they come."""
        yield from self.validate()
        batches = self._batches()
        while self.step < self.study.steps:
            self.step += 1
            yield from self.update(next(batches))
            if self.step % self.study.validate_every == 0 or self.step == self.study.steps:
                yield from self.validate()
            progress(self.step)

    def _batches(self) -> Iterator[list[dict]]:
        while True:
            indices = iter(self.sampler)
            for first in indices:
                rest = [next(indices) for _ in range(self.study.prompts - 1)]
                yield [self.rows[index] for index in (first, *rest)]

    # ------------------------------------------------------------------------- a step

    def update(self, batch: Sequence[dict]) -> list[Record]:
        """Answer, judge, weigh and learn one batch."""
        started = time.perf_counter()
        is_sft = [self._domain(row).is_sft for row in batch]
        prompts = [row for row, sft in zip(batch, is_sft, strict=True) if not sft]
        references = [row for row, sft in zip(batch, is_sft, strict=True) if sft]
        generated = [row for row in prompts for _ in range(self.study.rollouts)]
        responses = self._answers(generated, temperature=1.0)
        answers = [self.policy.encode(self._reference(row)) for row in references]
        log_probs = self.policy.log_probs([*generated, *references], [*responses, *answers])
        scores = [score(self.domains, row, self.policy.decode(r)) for row, r in zip(generated, responses, strict=True)]
        rewards = self._rewards(generated, scores)
        nll = -log_probs.detach()[len(generated) :]
        records = self._observe(references, answers, rewards, nll)
        step_rows = self._step_rows(rewards, responses, references, answers)
        with torch.no_grad():
            base = self.base.log_probs(generated, responses) if self.settings.kl and generated else None
        loss = step_loss(log_probs, log_probs.detach()[: len(generated)], step_rows, self.settings, base)
        self._learn(loss)
        records += [("", f"{kind}/{name}", value) for name, kind, value in self._weights_and_signals()]
        for (name, metric), value in mean_by_source(map(self._name, generated), scores).items():
            records.append((name, f"reward/{metric}", value))
        lengths = [{"length": float(len(response))} for response in responses]
        for (name, _), value in mean_by_source(map(self._name, generated), lengths).items():
            records.append((name, "response_length", value))
        records.append(("", "time/step", time.perf_counter() - started))
        return [(self.step, name, TRAIN, metric, value) for name, metric, value in records]

    def _answers(self, rows: Sequence[dict], temperature: float) -> list[Tensor]:
        if not rows:
            return []
        return self.policy.sample(rows, temperature, self.generator, self.study.max_response_length)

    def _rewards(self, rows: Sequence[dict], scores: Sequence[dict[str, float]]) -> Tensor:
        """(rows, K), NaN where an objective does not apply."""
        rewards = torch.full((len(rows), len(self.keys)), torch.nan, dtype=torch.float64)
        for position, (row, values) in enumerate(zip(rows, scores, strict=True)):
            for name, value in values.items():
                rewards[position, self.keys.index(self.domains.key(self._name(row), name))] = value
        return rewards

    def _observe(self, references, answers, rewards: Tensor, nll: Tensor) -> list[tuple[str, str, float]]:
        """Show the scheduler the step's means, the next-token losses' before the update among them."""
        carried = ~rewards.isnan()
        means = {key: float(rewards[carried[:, k], k].mean()) for k, key in enumerate(self.keys) if carried[:, k].any()}
        records, tokens = [], {}
        for row, answer, values in zip(references, answers, nll, strict=True):
            name = self._name(row)
            for key in {self._ntp_key(row), (name, "loss/ntp")}:
                tokens.setdefault(key, []).append(values[: len(answer)])
        for key, values in tokens.items():
            mean = float(torch.cat(values).mean())
            if isinstance(key, tuple):
                records.append((*key, mean))
            else:
                means[key] = mean
        self.scheduler.observe(means)
        if self.mixture_follows_weights:
            self.sampler.follow(self.domains.domain_weights(self.scheduler.weights))
        return records

    def _step_rows(self, rewards: Tensor, responses, references, answers) -> StepRows:
        objective = torch.tensor([self.keys.index(self._ntp_key(row)) for row in references], dtype=torch.int64)
        carried = (~rewards.isnan()).any(dim=0)
        carried[objective] = True
        columns = carried.nonzero().squeeze(1)
        weights = torch.tensor([self.scheduler.weights[self.keys[k]] for k in columns.tolist()], dtype=torch.float64)
        return StepRows(
            rewards=rewards[:, columns],
            groups=torch.arange(len(rewards)) // self.study.rollouts,
            generated_mask=_mask(responses),
            objective=torch.searchsorted(columns, objective),
            reference_mask=_mask(answers),
            # Objectives absent from this batch leave the mean weight of those in it at 1.
            weights=weights / weights.mean(),
        )

    def _learn(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.study.max_grad_norm)
        if math.isfinite(norm):
            self.optimizer.step()
        self.schedule.step()

    def _weights_and_signals(self) -> Iterator[tuple[str, str, float]]:
        for name, weight in self.scheduler.weights.items():
            yield name, "weight", weight
        for name, signals in self.scheduler.signals.items():
            if not math.isnan(signals.convergence):
                yield name, "convergence", signals.convergence
                if not math.isnan(signals.instability):
                    yield name, "instability", signals.instability

    # --------------------------------------------------------------------- validation

    def validate(self) -> list[Record]:
        """Score the validation rows, greedy and sampled."""
        scores = validate(self.policy, self.validation, self.domains, self.generator, self.study.max_response_length)
        return [(self.step, *key, value) for key, value in scores.items()]

    # ---------------------------------------------------------------------------- rows

    def _domain(self, row: dict):
        return self.domains.of_data_source(row["data_source"])

    def _name(self, row: dict) -> str:
        return self._domain(row).name

    def _ntp_key(self, row: dict) -> str:
        return self.domains.key(self._name(row), "ntp")

    def _reference(self, row: dict) -> str:
        return self._domain(row).reference_answer(row["reward_model"]["ground_truth"])


def _mask(responses: Sequence[Tensor]) -> Tensor:
    """(rows, longest), 1 on each response's tokens."""
    lengths = torch.tensor([len(response) for response in responses], dtype=torch.int64)
    longest = int(lengths.max()) if len(responses) else 0
    return (torch.arange(longest)[None] < lengths[:, None]).float()
