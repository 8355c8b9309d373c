"""One update's rewards, fetched from TransferQueue and laid out as a matrix of rows by objectives."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta

from recap_verl.domains import Domains, DomainSpec
from recap_verl.verl_adapter.reward_manager import CUTOFFS, ERRORS, OBJECTIVE


@dataclass
class StepData:
    """The rows of one batch, in the order of its keys.

    Attributes:
        domains: all domains of the run.
        keys: (K,) names of the columns, as the scheduler knows them.
        rewards: (batch, K) float64, NaN where an objective does not apply: to the row's domain, to a padding row, or
            because it failed.
        specs: (batch,) the domain of each row, None for a padding row.
        session: (batch,) int64 code of each row's agent-loop session.
        final: (batch,) bool, True for the last output of a session.
        scores: (batch,) float32, the sum of verl's token-level scores.
        lengths: (batch,) response lengths in tokens.
        counts: failures and cut-offs over the final rows.
    """

    domains: Domains
    keys: list[str]
    rewards: torch.Tensor
    specs: list[DomainSpec | None]
    session: torch.Tensor
    final: torch.Tensor
    scores: torch.Tensor
    lengths: list[int]
    counts: Counter

    @classmethod
    def fetch(cls, batch: KVBatchMeta, domains: Domains, keys: list[str]) -> "StepData":
        """Read what the reward manager left beside each row.

        verl's own ``_compute_advantage`` fetches neither; TransferQueue keeps every column of the data set and the
        reward manager's ``reward_extra_info`` of each row.
        """
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["data_source", "extra_fields", "rm_scores"],
        )
        sources, extra_fields = _as_list(data["data_source"]), _as_list(data["extra_fields"])
        padding = [tag.get("is_padding", False) for tag in batch.tags]
        session, final = _sessions(batch.keys)
        column = {key: k for k, key in enumerate(keys)}
        rewards = torch.full((len(batch), len(keys)), torch.nan, dtype=torch.float64)
        specs: list[DomainSpec | None] = []
        counts: Counter = Counter()
        for row, (source, extra) in enumerate(zip(sources, extra_fields, strict=True)):
            spec = None if padding[row] else domains.of_data_source(source)
            specs.append(spec)
            if spec is None:
                continue
            info = extra["reward_extra_info"]
            for objective in spec.objectives:
                value = info[f"{OBJECTIVE}{objective}"]
                if value is not None:
                    rewards[row, column[domains.key(spec.name, objective)]] = value
            if final[row]:
                counts.update({ERRORS: info[ERRORS], CUTOFFS: info[CUTOFFS], spec.name: 1})
        scores = data["rm_scores"]
        lengths = scores.offsets().diff().tolist()
        return cls(
            domains, keys, rewards, specs, session, final, scores.to_padded_tensor(0.0).sum(dim=1), lengths, counts
        )

    def objective_means(self) -> dict[str, float]:
        """L_k of the step: key -> mean over the final rows that carry it; an objective no row carries is absent."""
        rewards = self.rewards[self.final]
        carried = ~rewards.isnan()
        return {
            key: float(rewards[carried[:, k], k].mean()) for k, key in enumerate(self.keys) if carried[:, k].any()
        }

    def present(self, weights: Mapping[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """The columns that some row carries, (batch, K'), and their weights rescaled to mean 1, (K',)."""
        columns = (~self.rewards.isnan()).any(dim=0).nonzero().squeeze(1)
        if len(columns) == 0:
            return self.rewards[:, :1], torch.ones(1, dtype=torch.float64)
        chosen = torch.tensor([weights[self.keys[k]] for k in columns.tolist()], dtype=torch.float64)
        return self.rewards[:, columns], chosen / chosen.mean()

    def metrics(self) -> dict[str, float]:
        """Rewards and shares per domain, and what went wrong while scoring."""
        final = self.final.numpy()
        names = np.array(["" if spec is None else spec.name for spec in self.specs])
        total = sum(count for name, count in self.counts.items() if name in self.domains)
        metrics = {"recap/objective_errors": self.counts[ERRORS], "recap/symbolic_cutoffs": self.counts[CUTOFFS]}
        for name, spec in self.domains.items():
            if not spec.trained:
                continue
            metrics[f"recap/share/{name}"] = self.counts[name] / total if total else 0.0
            rows = torch.from_numpy(final & (names == name))
            for objective in spec.objectives:
                values = self.rewards[rows, self.keys.index(self.domains.key(name, objective))]
                values = values[~values.isnan()]
                if len(values):
                    metrics[f"recap/reward/{name}/{objective}"] = float(values.mean())
        return metrics


def _as_list(column) -> list:
    """TransferQueue answers with a tensordict stack or a plain list, depending on the column's history."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _sessions(keys: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of the sessions and which row is the last output of its own, from keys ``{uid}_{session}_{index}``."""
    split = [key.rsplit("_", 1) for key in keys]
    codes: dict[str, int] = {}
    session = torch.tensor([codes.setdefault(name, len(codes)) for name, _ in split], dtype=torch.int64)
    last: dict[int, tuple[int, int]] = {}
    for row, (code, (_, index)) in enumerate(zip(session.tolist(), split, strict=True)):
        last[code] = max(last.get(code, (-1, -1)), (int(index), row))
    final = torch.zeros(len(keys), dtype=torch.bool)
    final[[row for _, row in last.values()]] = True
    return session, final
