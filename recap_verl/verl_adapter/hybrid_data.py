"""Which training rows are answered by generation and which carry their answer: columns added to a batch of prompts."""

import numpy as np
from verl.utils.dataset.rl_dataset import collate_fn

from recap_verl.domains import Domains
from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION
from recap_verl.verl_adapter.teacher_forced import ANSWER, NAME


class HybridCollate:
    """verl's `collate_fn`, then for each row the agent loop, the number of rollouts and the reference answer.

    verl 0.9.1 reads `agent_name` and `__rollout_n__` of each row (`trainer/ppo/v1/agent_loop_tq.py`). RL rows keep
    what the data set says of them, or get the configured values.

    Args:
        default_loop, rollouts: `rollout.agent.default_agent_loop` and `rollout.n`.
        distribution: whether rows of `source: self` keep the base model's stored distributions; without it, or
            without such a column, tokens alone are learnt.
    """

    def __init__(self, domains: Domains, default_loop: str, rollouts: int, distribution: bool = False):
        self.domains = domains
        self.default_loop = default_loop
        self.rollouts = rollouts
        self.distribution = distribution

    def __call__(self, rows: list[dict]) -> dict:
        for row in rows:
            spec = self.domains.of_data_source(row["data_source"])
            if spec.is_sft:
                answer = spec.reference_answer(row["reward_model"]["ground_truth"])
                row.update({"agent_name": NAME, "__rollout_n__": 1, ANSWER: answer})
            else:
                row.setdefault("agent_name", self.default_loop)
                row.setdefault("__rollout_n__", self.rollouts)
                row[ANSWER] = ""
            stored = row.get(DISTRIBUTION)
            row[DISTRIBUTION] = stored if self.distribution and spec.source == "self" else None
        batch = collate_fn(rows)
        # One batch of prompts may be put together from several: columns must be of one kind in all of them.
        batch["__rollout_n__"] = np.array([int(n) for n in batch["__rollout_n__"]], dtype=object)
        return batch
