"""One update's next-token rows: how likely the model found the reference tokens before it learnt from them."""

from dataclasses import dataclass

import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.workers.utils.padding import response_from_nested

from recap_verl.domains import NTP, Domains
from recap_verl.loss import mean_per_token
from recap_verl.verl_adapter.ntp_fields import HITS
from recap_verl.verl_adapter.teacher_forced import CUT

# Adds up over the updates of a step.
CUT_ANSWERS = "recap/ntp_cut_answers"


@dataclass
class NextTokenData:
    """The next-token rows of one batch.

    Attributes:
        positions: (rows,) int64, where each stands in the batch.
        domain: (rows,) name of each row's domain.
        objective: (rows,) int64 column of each row's objective among the scheduler's keys.
        nll: for each row (length,), negative log-likelihood of its reference tokens at temperature 1.
        hits: for each row (length,), 1 where the token was the model's first choice; None where the engine does not
            show its logits.
        cut: rows whose answer was longer than `data.max_response_length`.
    """

    positions: torch.Tensor
    domain: list[str]
    objective: torch.Tensor
    nll: list[torch.Tensor]
    hits: list[torch.Tensor] | None
    cut: int

    @property
    def lengths(self) -> torch.Tensor:
        return torch.tensor([len(row) for row in self.nll])

    @classmethod
    def fetch(cls, batch: KVBatchMeta, sft_keys: list[str], domains: Domains, keys: list[str]) -> "NextTokenData":
        """Read the rows `sft_keys` of a batch whose old log-probabilities have been computed."""
        data = tq.kv_batch_get(
            keys=sft_keys,
            partition_id=batch.partition_id,
            select_fields=["data_source", "extra_fields", "response_mask", "old_log_probs", HITS],
        )
        position = {key: row for row, key in enumerate(batch.keys)}
        names = [domains.of_data_source(source).name for source in list(data["data_source"])]
        column = {key: code for code, key in enumerate(keys)}
        hits = data.get(HITS, None)
        return cls(
            positions=torch.tensor([position[key] for key in sft_keys]),
            domain=names,
            objective=torch.tensor([column[domains.key(name, NTP)] for name in names]),
            nll=[-row for row in data["old_log_probs"].unbind()],
            hits=None if hits is None else list(response_from_nested(hits, data["response_mask"]).unbind()),
            cut=sum(bool(extra[CUT]) for extra in list(data["extra_fields"])),
        )

    def objective_means(self, keys: list[str]) -> dict[str, float]:
        """The tracked series: key -> mean negative log-likelihood per token before the update."""
        return {
            keys[code]: mean_per_token([row for row, of in zip(self.nll, self.objective, strict=True) if of == code])
            for code in sorted(set(self.objective.tolist()))
        }

    def metrics(self) -> dict[str, float]:
        """`recap/loss/<domain>/ntp`, `recap/token_accuracy/<domain>` and the answers that were cut."""
        metrics = {CUT_ANSWERS: float(self.cut)}
        for name in dict.fromkeys(self.domain):
            rows = [row for row, domain in enumerate(self.domain) if domain == name]
            metrics[f"recap/loss/{name}/{NTP}"] = mean_per_token([self.nll[row] for row in rows])
            if self.hits is not None:
                metrics[f"recap/token_accuracy/{name}"] = mean_per_token([self.hits[row] for row in rows])
        return metrics
