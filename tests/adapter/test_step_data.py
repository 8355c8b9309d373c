"""A batch from TransferQueue becomes the matrix of rows by objectives."""

from dataclasses import dataclass, field

import pytest
import torch
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta

from recap_verl.domains import Domains
from recap_verl.verl_adapter import step_data
from recap_verl.verl_adapter.step_data import PADDING, StepData

CONFIG = {
    "math": {"role": "target", "data_sources": ["gsm8k", "aime"], "objectives": ["accuracy", "think_format"]},
    "ocr": {"objectives": ["exact_match", "answer_format"]},
    "code": {"objectives": ["accuracy"]},
    "quiz": {"role": "probe", "objectives": ["accuracy"]},
}


@dataclass
class Queue:
    """Rows as verl 0.9.1 puts them (``agent_loop_tq.py``), and TransferQueue's answer for them."""

    keys: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    sources: list = field(default_factory=list)
    extra: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    def put(self, key, source, rewards, length=3, score=0.0, errors=0, cutoffs=0, **tag):
        values = {f"recap_objective/{name}": value for name, value in rewards.items()}
        info = {"acc": score, **values, "recap_errors": errors, "recap_symbolic_cutoffs": cutoffs}
        self.keys.append(key)
        self.tags.append({"status": "success", **tag})
        self.sources.append(source)
        self.extra.append({"turn_scores": [], "reward_extra_info": info})
        tokens = torch.zeros(length)
        tokens[-1] = score
        self.scores.append(tokens)
        return self

    def meta(self) -> KVBatchMeta:
        return KVBatchMeta(keys=self.keys, tags=self.tags, partition_id="train")

    def answer(self, keys, partition_id, select_fields) -> TensorDict:
        assert keys == self.keys and partition_id == "train"
        columns = {
            "data_source": NonTensorStack(*self.sources),
            "extra_fields": NonTensorStack(*self.extra),
            "rm_scores": torch.nested.as_nested_tensor(self.scores, layout=torch.jagged),
        }
        return TensorDict({name: columns[name] for name in select_fields}, batch_size=len(keys))


@pytest.fixture
def fetch(monkeypatch):
    def fetch(queue: Queue, weight_per="objective") -> StepData:
        monkeypatch.setattr(step_data.tq, "kv_batch_get", queue.answer)
        domains = Domains(CONFIG, weight_per)
        return StepData.fetch(queue.meta(), domains, list(domains.scheduler_objectives()))

    return fetch


def lines(rewards: torch.Tensor) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in rewards.tolist()]


MATH, OCR = {"accuracy": 1.0, "think_format": 0.25}, {"exact_match": 0.5, "answer_format": 1.0}


def test_each_row_lies_in_the_columns_of_its_domain(fetch):
    queue = Queue()
    queue.put("u1_0_0", "gsm8k", MATH).put("u2_0_0", "ocr", OCR).put("u3_0_0", "code", {"accuracy": 0.0})
    queue.put("u4_0_0", "aime", MATH)
    step = fetch(queue)
    assert step.keys == ["accuracy", "think_format", "exact_match", "answer_format"]
    assert lines(step.rewards) == [
        [1.0, 0.25, None, None],
        [None, None, 0.5, 1.0],
        [0.0, None, None, None],
        [1.0, 0.25, None, None],
    ]
    assert step.domain.tolist() == [0, 1, 2, 0]
    assert step.rewards.dtype == torch.float64 and step.final.all()


def test_one_column_per_domain_and_objective(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", MATH).put("u3_0_0", "code", {"accuracy": 0.5})
    step = fetch(queue, "domain_objective")
    assert step.keys == ["math/accuracy", "math/think_format", "ocr/exact_match", "ocr/answer_format", "code/accuracy"]
    assert lines(step.rewards) == [[1.0, 0.25, None, None, None], [None, None, None, None, 0.5]]
    assert step.objective_means() == {"math/accuracy": 1.0, "math/think_format": 0.25, "code/accuracy": 0.5}


def test_scores_and_lengths(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", MATH, length=5, score=0.625).put("u2_0_0", "ocr", OCR, length=1, score=0.75)
    step = fetch(queue)
    assert step.scores.tolist() == [0.625, 0.75] and step.lengths == [5, 1]


def test_responses_of_one_length(fetch):
    step = fetch(Queue().put("u1_0_0", "gsm8k", MATH, score=1.0).put("u2_0_0", "ocr", OCR, score=0.5))
    assert step.scores.tolist() == [1.0, 0.5] and step.lengths == [3, 3]


def test_a_failed_objective_does_not_apply(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", {**MATH, "accuracy": None}, errors=1).put("u1_1_0", "gsm8k", MATH, cutoffs=2)
    step = fetch(queue)
    assert lines(step.rewards)[0] == [None, 0.25, None, None]
    assert step.objective_means()["accuracy"] == 1.0
    metrics = step.metrics()
    assert (metrics["recap/objective_errors"], metrics["recap/symbolic_cutoffs"]) == (1, 2)


def test_padding_rows_carry_nothing_and_count_nowhere(fetch):
    bare, padded = Queue(), Queue()
    for queue in (bare, padded):
        queue.put("u1_0_0", "gsm8k", MATH, score=0.6).put("u2_0_0", "ocr", OCR, score=0.7)
    # verl copies its first row for them (padding_utils.py), data source, reward information and all.
    for i in range(3):
        padded.put(f"padff_{i}_0", "gsm8k", MATH, length=1, errors=1, cutoffs=1, is_padding=True)
    step = fetch(padded)
    assert step.rewards[2:].isnan().all() and step.domain[2:].tolist() == [PADDING] * 3
    assert step.scores.tolist() == pytest.approx([0.6, 0.7, 0.0, 0.0, 0.0])
    assert step.metrics() == fetch(bare).metrics()
    assert step.objective_means() == fetch(bare).objective_means()


def test_a_step_of_padding_alone(fetch):
    step = fetch(Queue().put("padff_0_0", "gsm8k", MATH, length=1, is_padding=True))
    assert step.objective_means() == {}
    columns, weights = step.present(dict.fromkeys(step.keys, 1.0))
    assert columns.tolist() == [0] and weights.tolist() == [1.0]
    shares = {key: value for key, value in step.metrics().items() if "/share/" in key}
    assert shares == {"recap/share/math": 0.0, "recap/share/ocr": 0.0, "recap/share/code": 0.0}


def test_the_last_output_of_a_session_counts_for_it(fetch):
    queue = Queue()
    # Ten outputs: the last is 9 and not "9" after "10"; the rows come in no order.
    for index in (3, 10, 0, 9):
        queue.put(f"u_1_2_{index}", "gsm8k", {**MATH, "accuracy": index / 10}, errors=index)
    queue.put("u_1_3_0", "gsm8k", {**MATH, "accuracy": 0.0}).put("u_2_3_0", "code", {"accuracy": 0.5})
    step = fetch(queue)
    assert step.session.tolist() == [0, 0, 0, 0, 1, 2]
    assert step.final.tolist() == [False, True, False, False, True, True]
    assert step.objective_means()["accuracy"] == pytest.approx((1.0 + 0.0 + 0.5) / 3)
    metrics = step.metrics()
    assert metrics["recap/objective_errors"] == 10
    assert metrics["recap/share/math"] == 0.5, "a share of the prompts, not of the rows"
    assert metrics["recap/reward/math/accuracy"] == 0.5


def test_metrics_by_domain_and_objective(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", MATH).put("u1_1_0", "aime", {"accuracy": 0.0, "think_format": None})
    queue.put("u2_0_0", "ocr", OCR).put("u2_1_0", "ocr", {"exact_match": None, "answer_format": None})
    assert fetch(queue).metrics() == {
        "recap/objective_errors": 0,
        "recap/symbolic_cutoffs": 0,
        "recap/share/math": 0.5,
        "recap/share/ocr": 0.5,
        "recap/share/code": 0.0,
        "recap/reward/math/accuracy": 0.5,
        "recap/reward/math/think_format": 0.25,
        "recap/reward/ocr/exact_match": 0.5,
        "recap/reward/ocr/answer_format": 1.0,
    }


def test_the_metrics_of_a_shared_objective_are_each_domains_own(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", MATH).put("u3_0_0", "code", {"accuracy": 0.25})
    metrics = fetch(queue).metrics()
    assert metrics["recap/reward/math/accuracy"] == 1.0 and metrics["recap/reward/code/accuracy"] == 0.25


def test_the_weights_of_the_objectives_present_have_mean_one(fetch):
    step = fetch(Queue().put("u2_0_0", "ocr", OCR).put("u3_0_0", "code", {"accuracy": 0.25}))
    weights = {"accuracy": 0.5, "think_format": 2.0, "exact_match": 1.0, "answer_format": 0.5}
    columns, present = step.present(weights)
    assert [step.keys[column] for column in columns] == ["accuracy", "exact_match", "answer_format"]
    assert present.tolist() == pytest.approx([0.75, 1.5, 0.75])


def test_all_objectives_present_leave_the_weights_alone(fetch):
    step = fetch(Queue().put("u1_0_0", "gsm8k", MATH).put("u2_0_0", "ocr", OCR))
    weights = {"accuracy": 0.5, "think_format": 2.0, "exact_match": 1.0, "answer_format": 0.5}
    assert step.present(weights)[1].tolist() == [0.5, 2.0, 1.0, 0.5]


def test_a_row_of_a_stranger(fetch):
    with pytest.raises(KeyError, match="'sat' belongs to no domain"):
        fetch(Queue().put("u1_0_0", "sat", {}))


def test_a_row_that_the_reward_manager_did_not_score(fetch):
    queue = Queue().put("u1_0_0", "gsm8k", MATH).put("u1_1_0", "gsm8k", MATH)
    del queue.extra[1]["reward_extra_info"]
    with pytest.raises(ValueError, match=r"row u1_1_0 of data source 'gsm8k' has no 'recap_objective/accuracy'"):
        fetch(queue)


def test_a_domain_may_bear_the_name_of_a_counter(monkeypatch):
    domains = Domains({"recap_errors": {"role": "target", "data_sources": ["x"], "objectives": ["accuracy"]}})
    queue = Queue().put("u1_0_0", "x", {"accuracy": 1.0}, errors=7)
    monkeypatch.setattr(step_data.tq, "kv_batch_get", queue.answer)
    metrics = StepData.fetch(queue.meta(), domains, ["accuracy"]).metrics()
    assert metrics["recap/share/recap_errors"] == 1.0 and metrics["recap/objective_errors"] == 7
