"""The gradient of the laboratory's plain-torch engine for a case of the gradient probe."""

import torch

from recap_verl.lab.fast.loss import LossSettings, StepRows, step_loss
from recap_verl.lab.fast.text_policy import TextPolicy


class FixedPrompts(TextPolicy):
    """Rows are those of the probe, whose prompts are token ids already."""

    def prompt_ids(self, row: dict) -> torch.Tensor:
        return row["prompt"]


def fast_gradient(model_folder: str, case: dict) -> dict[str, torch.Tensor]:
    """Gradient of the engine's `step_loss` by parameter name; loss_agg_mode is token-mean, temperature 1."""
    rows = torch.load(case["rows"])
    generated = [row for row in rows if not row["ntp"]]
    references = [row for row in rows if row["ntp"]]
    carried = {name for row in generated for name in row["rewards"]} | {row["ntp"] for row in references}
    keys = [key for key in case["weights"] if key in carried]
    weights = torch.tensor([case["weights"][key] for key in keys], dtype=torch.float64)
    groups = {name: code for code, name in enumerate(dict.fromkeys(row["group"] for row in generated))}
    policy = FixedPrompts(model_folder)
    log_probs = policy.log_probs([*generated, *references], [row["response"] for row in [*generated, *references]])
    step = StepRows(
        rewards=torch.tensor([[row["rewards"].get(key, torch.nan) for key in keys] for row in generated]),
        groups=torch.tensor([groups[row["group"]] for row in generated]),
        generated_mask=mask(generated),
        objective=torch.tensor([keys.index(row["ntp"]) for row in references], dtype=torch.int64),
        reference_mask=mask(references),
        weights=weights / weights.mean(),
    )
    step_loss(log_probs, padded([row["old_log_probs"] for row in generated]), step, LossSettings()).backward()
    return {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


def padded(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True) if values else torch.zeros(0, 0)


def mask(rows: list[dict]) -> torch.Tensor:
    return padded([torch.ones(len(row["response"])) for row in rows])
