"""The reward manager "recap": every objective of a row's domain, each by itself."""

import logging
import math
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from recap_verl.domains import DomainSpec
from recap_verl.objectives import ObjectiveError, collect_events
from recap_verl.parts import build_domains

logger = logging.getLogger(__name__)

# Keys of reward_extra_info. "acc" is the name verl takes for the main score of a data source in validation.
MAIN = "acc"
OBJECTIVE = "recap_objective/"
ERRORS = "recap_errors"
CUTOFFS = "recap_symbolic_cutoffs"


@register("recap")
class RecapRewardManager(RewardManagerBase):
    """Scores a response with the objectives that ``recap.domains`` gives its data source.

    ``reward_score`` is the mean of the objectives, weighted by their static priors. ``reward_extra_info`` holds
    ``acc`` (the domain's first objective), ``recap_objective/<name>`` for each, and the counts ``recap_errors`` and
    ``recap_symbolic_cutoffs``.

    An objective that fails on a row (it raises, or returns no finite number in its range) does not apply to that row:
    its value is None, so that a faulty function neither rewards nor punishes anyone. The first failures are logged
    and all are counted.
    """

    LOGGED_FAILURES = 5

    def __init__(self, config, tokenizer, compute_score=None, **_unused):
        super().__init__(config, tokenizer, compute_score)
        self._domains = build_domains(config)
        self._failures = 0

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last output of one session (verl 0.9.1, ``reward_manager/naive.py``)."""
        row = data[-1:][0]
        response_ids = row.batch["responses"]
        # The masks of a session's outputs are padded at their ends, so the last response need not lie at the end of
        # its own: verl counts its tokens beside it.
        length = row.non_tensor_batch.get("response_len")
        if length is None:
            length = int(row.batch["attention_mask"][-response_ids.shape[-1] :].sum())
        return await self.loop.run_in_executor(None, self._score, row.non_tensor_batch, response_ids[:length])

    def _score(self, row: dict[str, Any], response_ids) -> dict[str, Any]:
        response = self.tokenizer.decode(response_ids, skip_special_tokens=True)
        extra_info = row.get("extra_info") or {}
        domain = self._domains.of_data_source(row["data_source"])
        with collect_events() as events:
            values = self.score_objectives(domain, response, row["reward_model"]["ground_truth"], extra_info)
        scored = {name: value for name, value in values.items() if value is not None}
        weight = math.fsum(domain.weights[name] for name in scored)
        total = math.fsum(domain.weights[name] * value for name, value in scored.items())
        return {
            "reward_score": total / weight if scored else 0.0,
            "reward_extra_info": {
                MAIN: values[domain.main_objective] or 0.0,
                **{f"{OBJECTIVE}{name}": value for name, value in values.items()},
                ERRORS: len(values) - len(scored),
                CUTOFFS: events["symbolic_cutoff"],
            },
        }

    def score_objectives(
        self, domain: DomainSpec, response: str, ground_truth: Any, extra_info: dict
    ) -> dict[str, float | None]:
        """Objective name -> value, None where the objective failed."""
        values: dict[str, float | None] = {}
        for name, objective in domain.objectives.items():
            try:
                values[name] = objective(response, ground_truth, extra_info)
            except ObjectiveError as error:
                values[name] = None
                self._failures += 1
                if self._failures <= self.LOGGED_FAILURES:
                    logger.warning(
                        "recap.domains.%s, row %s: %s; the row does not count for this objective",
                        domain.name,
                        extra_info.get("index", "?"),
                        error,
                    )
        return values
