"""Next-token rows of a batch: their likelihoods become a tracked loss, and they stay out of the rewards."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta

from recap_verl.domains import Domains
from recap_verl.verl_adapter import next_token_data, step_data
from recap_verl.verl_adapter.next_token_data import CUT_ANSWERS, NextTokenData
from recap_verl.verl_adapter.ntp_fields import HITS, WEIGHT, next_token_rows, per_row
from recap_verl.verl_adapter.step_data import PADDING, StepData
from recap_verl.verl_adapter.teacher_forced import CUT

CONFIG = {
    "math": {"role": "target", "data_sources": ["gsm8k"], "objectives": ["accuracy", "think_format"]},
    "ocr": {"kind": "sft", "data_sources": ["ocr", "ocr_hard"]},
    "text": {"kind": "sft", "objectives": {"ntp": {"weight": 1.0}, "accuracy": {}}},
    "quiz": {"role": "probe", "kind": "sft"},
}
MATH = {"accuracy": 1.0, "think_format": 0.5}


@dataclass
class Queue:
    """Rows after verl's pass for old log-probabilities, and TransferQueue's answer for them."""

    hits: bool = True
    keys: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    sft: list = field(default_factory=list)

    def put(self, key, source, old_log_probs, extra, prompt=2, hits=None, **tag):
        length = len(old_log_probs)
        # Hits stand one position before their tokens; what stands elsewhere belongs to the prompt.
        whole = [9.0] * (prompt - 1) + list(hits or [0.0] * length) + [9.0]
        self.keys.append(key)
        self.tags.append({"status": "success", **tag})
        self.rows.append(
            {
                "data_source": source,
                "extra_fields": extra,
                "rm_scores": torch.zeros(length),
                "response_mask": torch.zeros(length, dtype=torch.int64),
                "old_log_probs": torch.tensor(old_log_probs),
                HITS: torch.tensor(whole),
            }
        )
        return self

    def generated(self, key, source, rewards, length=3, **tag):
        values = {f"recap_objective/{name}": value for name, value in rewards.items()}
        info = {"acc": 0.0, **values, "recap_errors": 0, "recap_symbolic_cutoffs": 0}
        return self.put(key, source, [-1.0] * length, {"reward_extra_info": info}, **tag)

    def reference(self, key, source, nll, hits=None, cut=False, prompt=2):
        self.sft.append(key)
        # All that the teacher-forced loop leaves: no objective's value.
        extra = {"reward_extra_info": {"acc": 0.0}, CUT: cut}
        return self.put(key, source, [-value for value in nll], extra, hits=hits, prompt=prompt)

    def meta(self) -> KVBatchMeta:
        return KVBatchMeta(keys=self.keys, tags=self.tags, partition_id="train")

    def answer(self, keys, partition_id, select_fields) -> TensorDict:
        assert partition_id == "train"
        rows = [self.rows[self.keys.index(key)] for key in keys]
        # TransferQueue leaves out what not all rows have.
        names = [name for name in select_fields if self.hits or name != HITS]
        columns = {name: [row[name] for row in rows] for name in names}
        return TensorDict(
            {
                name: torch.nested.as_nested_tensor(values, layout=torch.jagged)
                if isinstance(values[0], torch.Tensor)
                else NonTensorStack(*values)
                for name, values in columns.items()
            },
            batch_size=len(keys),
        )


@pytest.fixture
def fetch(monkeypatch):
    def fetch(queue: Queue, weight_per="objective") -> StepData:
        monkeypatch.setattr(step_data.tq, "kv_batch_get", queue.answer)
        monkeypatch.setattr(next_token_data.tq, "kv_batch_get", queue.answer)
        domains = Domains(CONFIG, weight_per)
        return StepData.fetch(queue.meta(), domains, list(domains.scheduler_objectives()), queue.sft)

    return fetch


@pytest.fixture
def mixed() -> Queue:
    queue = Queue().generated("u1_0_0", "gsm8k", MATH).generated("u1_1_0", "gsm8k", {**MATH, "accuracy": 0.0})
    queue.reference("u2_0_0", "ocr", [1.0, 3.0], hits=[1.0, 0.0], prompt=3)
    queue.reference("u3_0_0", "text", [0.5], hits=[1.0])
    queue.reference("u4_0_0", "ocr_hard", [2.0] * 4, hits=[0.0, 0.0, 0.0, 1.0], cut=True, prompt=1)
    return queue


def test_likelihoods_and_hits_of_each_row(fetch, mixed):
    ntp = fetch(mixed).ntp
    assert isinstance(ntp, NextTokenData)
    assert [row.tolist() for row in ntp.nll] == [[1.0, 3.0], [0.5], [2.0] * 4]
    assert [row.tolist() for row in ntp.hits] == [[1.0, 0.0], [1.0], [0.0, 0.0, 0.0, 1.0]]
    assert ntp.lengths.tolist() == [2, 1, 4] and ntp.positions.tolist() == [2, 3, 4]
    assert ntp.domain == ["ocr", "text", "ocr"] and ntp.cut == 1


def test_one_series_for_all_domains_or_one_for_each(fetch, mixed):
    step = fetch(mixed)
    assert step.keys == ["accuracy", "think_format", "ntp"] and step.ntp.objective.tolist() == [2, 2, 2]
    # A mean over tokens: (1 + 3 + .5 + 4 * 2) / 7.
    assert step.objective_means() == {"accuracy": 0.5, "think_format": 0.5, "ntp": pytest.approx(12.5 / 7)}
    step = fetch(mixed, "domain_objective")
    assert step.keys == ["math/accuracy", "math/think_format", "ocr/ntp", "text/ntp"]
    assert step.ntp.objective.tolist() == [2, 3, 2]
    means = step.objective_means()
    assert (means["ocr/ntp"], means["text/ntp"]) == (pytest.approx(12 / 6), pytest.approx(0.5))


def test_metrics_by_domain(fetch, mixed):
    metrics = fetch(mixed).metrics()
    assert metrics == {
        "recap/objective_errors": 0,
        "recap/symbolic_cutoffs": 0,
        CUT_ANSWERS: 1.0,
        "recap/loss/ocr/ntp": pytest.approx(2.0),
        "recap/loss/text/ntp": pytest.approx(0.5),
        "recap/token_accuracy/ocr": pytest.approx(2 / 6),
        "recap/token_accuracy/text": 1.0,
        "recap/share/math": 0.25,
        "recap/share/ocr": 0.5,
        "recap/share/text": 0.25,
        "recap/reward/math/accuracy": 0.5,
        "recap/reward/math/think_format": 0.5,
    }


def test_shares_count_prompts_and_not_rollouts(fetch):
    queue = Queue().reference("u2_0_0", "ocr", [1.0])
    for rollout in range(8):
        queue.generated(f"u1_{rollout}_0", "gsm8k", MATH)
    queue.generated("padff_0_0", "gsm8k", MATH, length=1, is_padding=True)
    metrics = fetch(queue).metrics()
    assert (metrics["recap/share/math"], metrics["recap/share/ocr"]) == (0.5, 0.5)
    assert metrics["recap/share/text"] == 0.0


def test_an_engine_that_does_not_show_logits_has_no_token_accuracy(fetch, mixed):
    mixed.hits = False
    step = fetch(mixed)
    assert step.ntp.hits is None
    assert not [name for name in step.metrics() if "token_accuracy" in name]
    assert step.metrics()["recap/loss/ocr/ntp"] == pytest.approx(2.0)


def test_next_token_rows_carry_no_reward(fetch, mixed):
    step = fetch(mixed)
    assert step.rewards[2:].isnan().all() and not step.rewards[:2, :2].isnan().any()
    assert step.rewards[:, 2].isnan().all(), "a loss is no reward, and nobody has one for it"
    assert step.domain.tolist() == [0, 0, 1, 2, 1]


def test_padding_copied_from_a_next_token_row_is_none(fetch):
    queue = Queue().reference("u2_0_0", "ocr", [1.0, 3.0]).generated("u1_0_0", "gsm8k", MATH)
    expected = fetch(queue).metrics()
    queue.put("padff_0_0", "ocr", [-7.0], {"reward_extra_info": {"acc": 0.0}, CUT: True}, is_padding=True)
    step = fetch(queue)
    assert step.metrics() == expected
    assert step.domain.tolist() == [1, 0, PADDING]
    assert step.ntp.positions.tolist() == [0] and step.ntp.cut == 0


def test_the_rows_may_be_asked_for_in_any_order(fetch, mixed):
    mixed.sft = mixed.sft[::-1]
    ntp = fetch(mixed).ntp
    assert ntp.positions.tolist() == [4, 3, 2] and ntp.domain == ["ocr", "text", "ocr"]
    assert [len(row) for row in ntp.nll] == [4, 1, 2]


def test_a_step_of_next_token_rows_alone(fetch):
    step = fetch(Queue().reference("u2_0_0", "ocr", [1.0, 2.0]).reference("u3_0_0", "ocr", [3.0]))
    assert step.objective_means() == {"ntp": 2.0}
    assert step.rewards.isnan().all()
    columns, weights = step.present({"accuracy": 0.5, "think_format": 1.0, "ntp": 1.5})
    assert columns.tolist() == [2] and weights.tolist() == [1.0]


def test_a_step_without_them(fetch):
    step = fetch(Queue().generated("u1_0_0", "gsm8k", MATH))
    assert step.ntp is None and set(step.objective_means()) == {"accuracy", "think_format"}
    metrics = step.metrics()
    assert CUT_ANSWERS not in metrics and not [name for name in metrics if "loss" in name or "token" in name]
    columns, weights = step.present({"accuracy": 0.5, "think_format": 1.0, "ntp": 1.5})
    assert columns.tolist() == [0, 1] and weights.tolist() == pytest.approx([2 / 3, 4 / 3])


def test_the_weights_of_all_objectives_present_have_mean_one(fetch, mixed):
    weights = {"math/accuracy": 0.4, "math/think_format": 0.6, "ocr/ntp": 1.0, "text/ntp": 2.0}
    columns, present = fetch(mixed, "domain_objective").present(weights)
    assert columns.tolist() == [0, 1, 2, 3] and present.tolist() == pytest.approx([0.4, 0.6, 1.0, 2.0])
    only = Queue().generated("u1_0_0", "gsm8k", {**MATH, "think_format": None}).reference("u3_0_0", "text", [1.0])
    columns, present = fetch(only, "domain_objective").present(weights)
    assert columns.tolist() == [0, 3] and present.tolist() == pytest.approx([1 / 3, 5 / 3])


# ----------------------------------------------------------------- what travels to the workers


def test_a_value_for_each_token_of_each_row():
    nested = per_row([0.25, math.nan, 1.0], torch.tensor([2, 1, 3]))
    assert nested.dtype == torch.float32
    assert [row.tolist() for row in nested.unbind()][::2] == [[0.25, 0.25], [1.0, 1.0, 1.0]]
    assert nested.offsets().diff().tolist() == [2, 1, 3]


def test_rows_are_told_apart_by_their_first_token():
    weights = per_row([math.nan, 0.5, math.nan, 1e-30], torch.tensor([3, 1, 1, 4]))
    data = TensorDict({WEIGHT: weights}, batch_size=4)
    assert next_token_rows(data).tolist() == [False, True, False, True]
    assert next_token_rows(TensorDict({"x": torch.zeros(2)}, batch_size=2)) is None
