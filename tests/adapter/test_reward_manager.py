"""The reward manager scores each objective of a row by itself, and survives every fault of theirs."""

import asyncio
import logging
import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

from recap_verl.lab import tiny
from recap_verl.objectives import count_event
from recap_verl.verl_adapter.reward_manager import RecapRewardManager

SEEN = []


def length(response, ground_truth, extra_info, *, letters: int = 10):
    return min(1.0, len(response) / letters)


def spy(response, ground_truth, extra_info):
    SEEN.append((response, ground_truth, extra_info))
    return 1.0


def cut_off(response, ground_truth, extra_info):
    count_event("symbolic_cutoff")
    return 0.0


def raises(response, ground_truth, extra_info):
    raise RuntimeError("no such thing")


def returns(response, ground_truth, extra_info, *, value=None):
    return {"nan": math.nan, "inf": math.inf, "two": 2.0, "minus": -0.5, "none": None, "text": "1.0"}[value]


def named(function) -> str:
    return f"{__name__}:{function}"


CONFIG = {
    "plain": {"role": "target", "objectives": ["exact_match", "answer_format"]},
    "weighted": {
        "objectives": {"long": {"fn": named("length"), "weight": 3.0}, "spy": {"fn": named("spy"), "weight": 1.0}}
    },
    "spied": {"data_sources": ["spied", "also spied"], "objectives": {"spy": {"fn": named("spy")}}},
    "read": {"kind": "sft", "template": "say {}", "objectives": {"anls": {"tag": False}, "answer_format": {}}},
    "taught": {"kind": "sft", "template": "say {}"},
    "slow": {"objectives": {"first": {"fn": named("cut_off")}, "second": {"fn": named("cut_off")}}},
    "failing": {"objectives": {"bad": {"fn": named("raises")}, "spy": {"fn": named("spy")}}},
    "lost": {"objectives": {"bad": {"fn": named("raises")}}},
    **{
        f"returns {value}": {"objectives": {"bad": {"fn": named("returns"), "value": value}, "answer_format": {}}}
        for value in ("nan", "inf", "two", "minus", "none", "text")
    },
}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.build_tokenizer()


@pytest.fixture
def manager(tokenizer):
    # The tests score some objectives in domains of other weights: one series each.
    config = OmegaConf.create({"recap": {"domains": CONFIG, "weight_per": "domain_objective"}})
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield RecapRewardManager(config, tokenizer, compute_score=None, reward_router_address=None)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    asyncio.set_event_loop(None)


def outputs(tokenizer, source, *responses, ground_truth="42", extra_info=None, counted=True) -> DataProto:
    """The outputs of one session as verl hands them over (agent_loop.py ``_compute_score``): padded at their ends."""
    prompts = [torch.tensor(tokenizer.encode("say 42"[: 4 + i])) for i in range(len(responses))]
    answers = [torch.tensor(tokenizer.encode(response)) for response in responses]
    whole = [torch.ones(len(p) + len(a), dtype=torch.int64) for p, a in zip(prompts, answers, strict=True)]
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {
        "prompts": pad(prompts, batch_first=True),
        "responses": pad(answers, batch_first=True),
        "attention_mask": pad(whole, batch_first=True),
    }
    n = len(responses)
    row = {"data_source": source, "reward_model": {"style": "rule", "ground_truth": ground_truth}}
    if extra_info is not None:
        row["extra_info"] = extra_info
    non_tensors = {key: np.array([value] * n, dtype=object) for key, value in row.items()}
    if counted:
        non_tensors["response_len"] = np.array([len(answer) for answer in answers])
    return DataProto(batch=TensorDict(batch, batch_size=n), non_tensor_batch=non_tensors)


@pytest.fixture
def score(manager, tokenizer):
    def score(source, *responses, **row):
        data = outputs(tokenizer, source, *responses, **row)
        return manager.loop.run_until_complete(manager.run_single(data))

    return score


def test_verl_finds_it_by_name():
    assert get_reward_manager_cls("recap") is RecapRewardManager


def test_every_objective_by_itself(score):
    assert score("plain", "<answer>42</answer>") == {
        "reward_score": 1.0,
        "reward_extra_info": {
            "acc": 1.0,
            "recap_objective/exact_match": 1.0,
            "recap_objective/answer_format": 1.0,
            "recap_errors": 0,
            "recap_symbolic_cutoffs": 0,
        },
    }
    wrong = score("plain", "<answer>41</answer>")
    assert wrong["reward_score"] == 0.5
    assert wrong["reward_extra_info"]["acc"] == 0.0, "the domain's first objective"


def test_the_score_is_the_mean_weighted_by_the_priors(score):
    result = score("weighted", "12345")
    assert result["reward_score"] == pytest.approx((3 * 0.5 + 1 * 1.0) / 4)
    assert result["reward_extra_info"]["acc"] == 0.5


def test_generated_answers_of_next_token_domains_are_judged_by_objectives_of_their_choice(score):
    """Validation generates their answers; the next-token loss is no objective of a response."""
    near = score("read", "Strasse", ground_truth="Straße")["reward_extra_info"]
    assert near["acc"] == near["recap_objective/anls"] == pytest.approx(5 / 7)
    assert near["recap_objective/answer_format"] == 0.0 and "recap_objective/ntp" not in near
    by_default = [score("taught", text, ground_truth="42")["reward_extra_info"]["acc"] for text in ("say 42", "42")]
    assert by_default == [1.0, 0.0]


@pytest.mark.parametrize("counted", [True, False])
def test_objectives_see_the_text_the_truth_and_the_row(score, counted):
    SEEN.clear()
    score("also spied", "äöü 12", ground_truth='["a", "b"]', extra_info={"index": 7}, counted=counted)
    score("spied", "x", counted=counted)
    assert SEEN == [("äöü 12", '["a", "b"]', {"index": 7}), ("x", "42", {})]


def test_special_tokens_are_no_text(score):
    SEEN.clear()
    score("spied", f"42{tiny.TURN_END}")
    assert SEEN[0][0] == "42"


def test_the_last_output_of_a_session_is_scored_whole(score):
    SEEN.clear()
    score("spied", "a first and very long output", "last one")
    score("spied", "short", "the last is the longest here")
    assert [response for response, *_ in SEEN] == ["last one", "the last is the longest here"]


def test_an_objective_that_raises_counts_neither_way(score):
    info = score("failing", "x")
    assert info["reward_score"] == 1.0, "the mean of those that did not fail"
    info = info["reward_extra_info"]
    assert info["recap_objective/bad"] is None and info["recap_objective/spy"] == 1.0
    assert info["recap_errors"] == 1
    assert info["acc"] == 0.0, "validation needs a number"


@pytest.mark.parametrize("value", ["nan", "inf", "two", "minus", "none", "text"])
def test_a_value_that_is_no_reward_counts_neither_way(score, value):
    result = score(f"returns {value}", "<answer>1</answer>")
    assert result["reward_score"] == 1.0
    assert result["reward_extra_info"]["recap_objective/bad"] is None
    assert result["reward_extra_info"]["recap_errors"] == 1


def test_a_row_on_which_everything_failed(score):
    result = score("lost", "x")
    assert result["reward_score"] == 0.0
    assert result["reward_extra_info"]["recap_objective/bad"] is None


def test_cut_offs_are_counted_per_row(score):
    assert score("slow", "x")["reward_extra_info"]["recap_symbolic_cutoffs"] == 2
    assert score("plain", "x")["reward_extra_info"]["recap_symbolic_cutoffs"] == 0


def test_the_first_failures_are_logged_with_their_place(score, caplog):
    with caplog.at_level(logging.WARNING):
        for i in range(RecapRewardManager.LOGGED_FAILURES + 3):
            score("lost", "x", extra_info={"index": i})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == RecapRewardManager.LOGGED_FAILURES
    assert "recap.domains.lost, row 0: objective" in lines[0]
    assert "raised RuntimeError: no such thing" in lines[0]


def test_a_data_source_without_a_domain(score):
    with pytest.raises(KeyError) as error:
        score("sat", "x")
    assert "'sat' belongs to no domain: add it to recap.domains.<name>.data_sources" in error.value.args[0]


def test_an_empty_response(score, manager, tokenizer):
    data = outputs(tokenizer, "plain", "x")
    data.non_tensor_batch["response_len"] = np.array([0])
    result = manager.loop.run_until_complete(manager.run_single(data))
    assert result["reward_score"] == 0.0 and result["reward_extra_info"]["recap_errors"] == 0


def test_rows_are_scored_at_the_same_time(manager, tokenizer):
    """verl's worker runs many at once; each has its own counts."""

    async def together():
        rows = [outputs(tokenizer, source, "<answer>42</answer>") for source in ("slow", "plain", "lost") * 20]
        return await asyncio.gather(*(manager.run_single(row) for row in rows))

    results = manager.loop.run_until_complete(together())
    counts = [
        (info["recap_symbolic_cutoffs"], info["recap_errors"]) for info in (r["reward_extra_info"] for r in results)
    ]
    assert counts == [(2, 0), (0, 0), (0, 1)] * 20
