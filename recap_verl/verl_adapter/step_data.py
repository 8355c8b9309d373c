"""One update's rewards, fetched from TransferQueue and laid out as a matrix of rows by objectives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta

from recap_verl.domains import Domains
from recap_verl.verl_adapter.next_token_data import CUT_ANSWERS, NextTokenData
from recap_verl.verl_adapter.reward_manager import CUTOFFS, ERRORS, OBJECTIVE

PADDING = -1
# Metrics that add up over the updates of a step.
COUNTS = ("recap/objective_errors", "recap/symbolic_cutoffs", CUT_ANSWERS)


@dataclass
class StepData:
    """The rows of one batch, in the order of its keys.

    Attributes:
        domains: all domains of the run.
        keys: (K,) names of the columns, as the scheduler knows them.
        rewards: (batch, K) float64, NaN where an objective does not apply: to the row's domain, to a padding row,
            because it is a next-token loss, or because it failed.
        domain: (batch,) int64 position of each row's domain in ``domains``, ``PADDING`` for a padding row.
        prompt, session: (batch,) int64 codes of each row's prompt and of its agent-loop session.
        final: (batch,) bool, True for the last output of a session.
        scores: (batch,) float32, the sum of verl's token-level scores.
        lengths: (batch,) response lengths in tokens.
        errors, cutoffs: objectives that failed, and symbolic comparisons cut off, over the final rows.
        ntp: the next-token rows among them, None where there are none.
    """

    domains: Domains
    keys: list[str]
    rewards: torch.Tensor
    domain: torch.Tensor
    prompt: torch.Tensor
    session: torch.Tensor
    final: torch.Tensor
    scores: torch.Tensor
    lengths: list[int]
    errors: int
    cutoffs: int
    ntp: NextTokenData | None = None

    @classmethod
    def fetch(cls, batch: KVBatchMeta, domains: Domains, keys: list[str], sft_keys: Sequence[str] = ()) -> "StepData":
        """Read what the reward manager left beside each row, and the likelihoods of the next-token rows `sft_keys`.

        verl's own ``_compute_advantage`` fetches neither; TransferQueue keeps every column of the data set and the
        reward manager's ``reward_extra_info`` of each row.

        Raises:
            KeyError: a row of a data source that belongs to no domain.
            ValueError: a row that was not scored by the reward manager "recap".
        """
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["data_source", "extra_fields", "rm_scores"],
        )
        session, final = _sessions(batch.keys)
        rewards = np.full((len(batch), len(keys)), np.nan)
        domain = np.full(len(batch), PADDING)
        code = {name: position for position, name in enumerate(domains)}
        columns = _columns(domains, keys)
        errors = cutoffs = 0
        sources, extra_fields = _as_list(data["data_source"]), _as_list(data["extra_fields"])
        rows = zip(sources, extra_fields, batch.tags, final.tolist(), strict=True)
        for row, (source, extra, tag, is_final) in enumerate(rows):
            if tag.get("is_padding", False):
                continue
            name = domains.of_data_source(source).name
            domain[row] = code[name]
            if domains[name].is_sft:
                continue
            fields, info = columns[name], extra.get("reward_extra_info", {})
            try:
                for field, column in fields:
                    value = info[field]
                    if value is not None:
                        rewards[row, column] = value
                if is_final:
                    errors += info[ERRORS]
                    cutoffs += info[CUTOFFS]
            except KeyError as error:
                raise ValueError(
                    f"row {batch.keys[row]} of data source {source!r} has no {error.args[0]!r}: the reward manager "
                    f"recap must score it, so an agent loop must not set reward_score itself"
                ) from error
        # One score to a row, on its last token: summing it any way gives the same bits as verl's sum.
        scores, lengths = data["rm_scores"].values(), data["rm_scores"].offsets().diff()
        return cls(
            domains,
            keys,
            torch.from_numpy(rewards),
            torch.from_numpy(domain),
            _codes([key.rsplit("_", 2)[0] for key in batch.keys]),
            session,
            final,
            torch.segment_reduce(scores, "sum", lengths=lengths),
            lengths.tolist(),
            errors,
            cutoffs,
            NextTokenData.fetch(batch, list(sft_keys), domains, keys) if sft_keys else None,
        )

    def generated(self) -> "StepData":
        """The same step without padding and next-token rows."""
        rows = self.domain != PADDING
        rows[self.ntp.positions] = False
        kept = {
            name: getattr(self, name)[rows] for name in ("rewards", "domain", "prompt", "session", "final", "scores")
        }
        lengths = [length for length, keep in zip(self.lengths, rows.tolist(), strict=True) if keep]
        return replace(self, **kept, lengths=lengths, ntp=None)

    def objective_means(self) -> dict[str, float]:
        """L_k of the step: key -> mean over the final rows that carry it; an objective no row carries is absent."""
        rewards = self.rewards[self.final]
        carried = ~rewards.isnan()
        means = {key: float(rewards[carried[:, k], k].mean()) for k, key in enumerate(self.keys) if carried[:, k].any()}
        return means if self.ntp is None else means | self.ntp.objective_means(self.keys)

    def present(self, weights: Mapping[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """The columns that some row carries, (K',) int64, and their weights rescaled to mean 1, (K',)."""
        carried = (~self.rewards.isnan()).any(dim=0)
        if self.ntp is not None:
            carried[self.ntp.objective] = True
        columns = carried.nonzero().squeeze(1)
        if len(columns) == 0:
            return torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.float64)
        chosen = torch.tensor([weights[self.keys[k]] for k in columns.tolist()], dtype=torch.float64)
        return columns, chosen / chosen.mean()

    def metrics(self) -> dict[str, float]:
        """Rewards and shares per domain, and what went wrong while scoring."""
        metrics = dict(zip(COUNTS, (self.errors, self.cutoffs), strict=False))
        if self.ntp is not None:
            metrics |= self.ntp.metrics()
        # Shares are of prompts: a next-token row is one row, a prompt that is answered n times is n.
        prompts = [len(self.prompt[self.domain == position].unique()) for position in range(len(self.domains))]
        for position, (name, spec) in enumerate(self.domains.items()):
            if spec.trained:
                metrics[f"recap/share/{name}"] = prompts[position] / max(1, sum(prompts))
        position = {name: position for position, name in enumerate(self.domains)}
        for name, fields in _columns(self.domains, self.keys).items():
            rewards = self.rewards[self.final & (self.domain == position[name])]
            for field, column in fields:
                objective = field.removeprefix(OBJECTIVE)
                values = rewards[:, column]
                values = values[~values.isnan()]
                if len(values):
                    metrics[f"recap/reward/{name}/{objective}"] = float(values.mean())
        return metrics


def _columns(domains: Domains, keys: list[str]) -> dict[str, list[tuple[str, int]]]:
    """Trained RL domain -> of each objective the field of ``reward_extra_info`` and the column of the rewards."""
    column = {key: position for position, key in enumerate(keys)}
    return {
        name: [(f"{OBJECTIVE}{objective}", column[domains.key(name, objective)]) for objective in spec.objectives]
        for name, spec in domains.items()
        if spec.trained and not spec.is_sft
    }


def _as_list(column) -> list:
    """TransferQueue answers with a tensordict stack or a plain list, depending on the column's history."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _sessions(keys: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of the sessions and which row is the last output of its own, from keys ``{uid}_{session}_{index}``."""
    split = [key.rsplit("_", 1) for key in keys]
    session = _codes([name for name, _ in split])
    last: dict[int, tuple[int, int]] = {}
    for row, (code, (_, index)) in enumerate(zip(session.tolist(), split, strict=True)):
        last[code] = max(last.get(code, (-1, -1)), (int(index), row))
    final = torch.zeros(len(keys), dtype=torch.bool)
    final[[row for _, row in last.values()]] = True
    return session, final


def _codes(names: list[str]) -> torch.Tensor:
    """(batch,) int64, equal where the names are."""
    codes: dict[str, int] = {}
    return torch.tensor([codes.setdefault(name, len(codes)) for name in names], dtype=torch.int64)
