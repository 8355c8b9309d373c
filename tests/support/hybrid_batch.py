"""Rows as workers get them, generated and next-token ones, and verl's loss on parts of them."""

from functools import partial

import torch
from tensordict import NonTensorStack, TensorDict
from verl.trainer.config.algorithm import RolloutCorrectionConfig
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
from verl.utils import tensordict_utils as tu
from verl.utils.metric import Metric
from verl.utils.py_functional import append_to_dict
from verl.workers.config.actor import ActorConfig, PolicyLossConfig
from verl.workers.engine.utils import prepare_micro_batches
from verl.workers.utils.losses import ppo_loss

from recap_verl.verl_adapter.ntp_fields import RL_ROWS, RL_TOKENS, WEIGHT

POLICY_LOSSES = sorted(POLICY_LOSS_REGISTRY)
# Their value depends on how a batch is cut into micro-batches in verl itself: they rank tokens, or take plain means.
OF_THE_MICRO_BATCH = ("clip_cov", "kl_cov", "geo_mean", "bypass_mode")
# r: generated, n: next-token, p: padding.
MIXED = "rnrpnrnr"
HORIZON = 9


class Step:
    """Rows as the workers get them, every value drawn by the row's number, so that a part has the whole's values."""

    def __init__(self, kinds: str = MIXED, mini_batches: int = 1, vision: bool = False):
        self.kinds, self.mini_batches, self.vision = kinds, mini_batches, vision
        self.rows = [self._row(number, kind) for number, kind in enumerate(kinds)]
        self.log_probs = [row["log_probs"].requires_grad_() for row in self.rows]
        self.entropy = [row["entropy"].requires_grad_() for row in self.rows]

    @staticmethod
    def _row(number: int, kind: str) -> dict:
        draw = torch.Generator().manual_seed(number)
        prompt, length = (1, 1) if kind == "p" else (2 + number % 3, 1 + (5 * number) % 7)

        def normal(size: int) -> torch.Tensor:
            return torch.randn(size, generator=draw)

        log_probs = -normal(prompt + length).exp()
        # Some ratios beyond verl's clip range of 0.2, some within.
        old = log_probs[prompt - 1 : -1] + 0.3 * normal(length)
        return {
            "prompts": torch.arange(prompt),
            "responses": torch.arange(length),
            "input_ids": torch.arange(prompt + length),
            "response_mask": torch.full((length,), int(kind == "r")),
            "loss_mask": torch.full((length,), int(kind == "r")),
            "old_log_probs": old,
            "ref_log_prob": old + 0.5 * normal(length),
            "advantages": normal(1).expand(length) * (kind == "r"),
            WEIGHT: torch.full((length,), 0.1 + 0.01 * number if kind == "n" else torch.nan),
            "log_probs": log_probs,
            "entropy": normal(prompt + length).exp(),
        }

    def numbers(self, kind: str) -> list[int]:
        return [number for number, of in enumerate(self.kinds) if of == kind]

    @property
    def rl_tokens(self) -> float:
        return sum(int(row["loss_mask"].sum()) for row in self.rows) / self.mini_batches

    @property
    def rl_rows(self) -> float:
        return len(self.numbers("r")) / self.mini_batches

    def data(self, numbers=None, dp_size: int = 1, hybrid: bool = True, **non_tensors) -> TensorDict:
        numbers = range(len(self.rows)) if numbers is None else numbers
        names = [name for name in self.rows[0] if name not in ("log_probs", "entropy") and (hybrid or name != WEIGHT)]
        columns = {name: tu.nested_tensor_from_tensor_list([self.rows[n][name] for n in numbers]) for name in names}
        columns["number"] = torch.tensor(list(numbers))
        columns["uid"] = NonTensorStack(*[f"u{n}" for n in numbers])
        lengths = [len(self.rows[n]["input_ids"]) for n in numbers]
        if self.vision:
            rotary = [torch.arange(4 * length).reshape(4, length) for length in lengths]
            columns["position_ids"] = tu.nested_tensor_from_tensor_list(rotary, ragged_idx=2)
            pixels = [{"pixel_values": torch.ones(n + 1, 3)} if self.kinds[n] != "p" else {} for n in numbers]
            columns["multi_modal_inputs"] = NonTensorStack(*pixels)
        else:
            columns["position_ids"] = tu.nested_tensor_from_tensor_list([torch.arange(length) for length in lengths])
        data = TensorDict(columns, batch_size=len(list(numbers)))
        settings = {
            "dp_size": dp_size,
            "temperature": 1.0,
            # What verl finds in the mini-batch, reference and padding rows and all.
            "batch_num_tokens": int(columns["loss_mask"].values().sum()) * dp_size,
            "global_batch_size": len(list(numbers)) * dp_size,
            **({RL_TOKENS: self.rl_tokens, RL_ROWS: self.rl_rows} if hybrid else {}),
            **non_tensors,
        }
        return tu.assign_non_tensor(data, **settings)

    def output(self, data: TensorDict, entropy: bool = True) -> dict:
        """The model's output for a micro-batch; gradients reach `log_probs` and `entropy`."""
        numbers = data["number"].tolist()

        def nested(values):
            offsets = torch.tensor([0, *[len(values[n]) for n in numbers]]).cumsum(0)
            return torch.nested.nested_tensor_from_jagged(torch.cat([values[n] for n in numbers]), offsets)

        output = {"log_probs": nested(self.log_probs)}
        return {**output, "entropy": nested(self.entropy)} if entropy else output

    def gradients(self) -> list[torch.Tensor]:
        """Take the gradients of `log_probs` and `entropy` away, by row."""
        taken = []
        for log_probs, entropy in zip(self.log_probs, self.entropy, strict=True):
            both = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in (log_probs, entropy)]
            taken.append(torch.stack(both))
            log_probs.grad = entropy.grad = None
        return taken

    def run(self, loss_fn, batches: list[TensorDict]) -> tuple[float, dict, list[torch.Tensor]]:
        """Loss, aggregated metrics and gradients of a mini-batch, as verl's engine gets them from micro-batches."""
        total, metrics, names = 0.0, {}, []
        for data in batches:
            torch.manual_seed(0)  # clip_cov draws
            loss, of_micro_batch = loss_fn(model_output=self.output(data), data=data)
            loss.backward()
            total += float(loss.detach())
            append_to_dict(metrics, of_micro_batch)
            names.append(list(of_micro_batch))
        assert all(of == names[0] for of in names), names
        means = {k: m.aggregate() if isinstance(m, Metric) else sum(m) / len(m) for k, m in metrics.items()}
        return total, means, self.gradients()


def verls(loss_mode: str = "vanilla", **settings):
    """verl's own loss, with all its terms on."""
    correction = RolloutCorrectionConfig(rollout_is="token", rollout_rs=None, loss_type="ppo_clip")
    policy_loss = PolicyLossConfig(
        loss_mode=loss_mode, dro_beta=0.1, clip_cov_lb=-1.0, clip_cov_ratio=0.3, rollout_correction=correction
    )
    defaults = {"entropy_coeff": 0.1, "use_kl_loss": True, "kl_loss_coef": 0.2, "loss_scale_factor": HORIZON}
    config = ActorConfig(
        strategy="fsdp",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=policy_loss,
        **{**defaults, **settings},
    )
    return partial(ppo_loss, config=config)


def alone(step: Step, loss_fn):
    """verl's loss over the generated rows as a batch of their own."""
    rows = step.numbers("r")
    data = step.data(rows, hybrid=False, batch_num_tokens=step.rl_tokens, global_batch_size=step.rl_rows)
    return step.run(loss_fn, [data])


def next_token_sum(step: Step) -> float:
    return sum(
        -float((row[WEIGHT] * row["log_probs"][len(row["prompts"]) - 1 : -1]).sum().detach())
        for row in (step.rows[n] for n in step.numbers("n"))
    )


def cut(data: TensorDict, size: int) -> list[TensorDict]:
    """Micro-batches of verl's engine."""
    tu.assign_non_tensor(data, use_dynamic_bsz=False, micro_batch_size_per_gpu=size)
    return prepare_micro_batches(data)[0]


def assert_equal_rows(actual: list[torch.Tensor], expected: list[torch.Tensor], **tolerance):
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        torch.testing.assert_close(one, other, msg=lambda message, n=number: f"row {n}: {message}", **tolerance)
