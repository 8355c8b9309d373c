"""What travels beside a step's rows so that a worker knows the next-token rows among them.

TransferQueue field `ntp_weight`, nested (rows, response length) float32: the weight of each reference token in the
loss, NaN in rows that carry no next-token loss. A batch without any such row does not have the field. The entries
`ntp_*` of the batch's `extra_info` arrive on the workers as non-tensor data.
"""

import torch
from tensordict import TensorDict

WEIGHT = "ntp_weight"
# Per token of prompt and response, 1 where the model's first choice is the token that follows; written by the pass
# that computes the old log-probabilities where `extra_info` asks for it.
HITS = "ntp_hits"
WANT_HITS = "ntp_want_hits"
# Column of the data set: None, or what `recap_verl.self_replay --top-k` stored of the base model's distribution over
# each token of its answer, {token_ids: (length,), topk_ids: (length, k), topk_log_probs: (length, k)}.
DISTRIBUTION = "ntp_distribution"
# Per token of prompt and response, the cross-entropy against that distribution at the position before the token;
# computed in the actor's update where `extra_info` asks for it.
SOFT_NLL = "ntp_soft_nll"
WANT_SOFT_NLL = "ntp_want_soft_nll"
# RL tokens and rows of the step, divided by its mini-batches: what verl is to average the RL losses over.
RL_TOKENS = "ntp_rl_tokens"
RL_ROWS = "ntp_rl_rows"


def per_row(values: list[float], lengths: torch.Tensor) -> torch.Tensor:
    """Nested (rows, length) float32: each row's value at each of its tokens."""
    rows = [torch.full((length,), value) for value, length in zip(values, lengths.tolist(), strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def next_token_rows(data: TensorDict) -> torch.Tensor | None:
    """(rows,) bool, None where the batch has no next-token rows at all."""
    if WEIGHT not in data.keys():  # noqa: SIM118  a TensorDict iterates over its rows
        return None
    weight = data[WEIGHT]
    return ~weight.values()[weight.offsets()[:-1]].isnan()


def distributions(data: TensorDict) -> list[dict | None]:
    """Each row's `DISTRIBUTION`."""
    column = data[DISTRIBUTION]
    return column.tolist() if hasattr(column, "tolist") else list(column)
