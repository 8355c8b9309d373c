"""Columns that tell verl which prompts to answer by generation and which carry their answer."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from tensordict import NonTensorStack
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.rl_dataset import collate_fn

from recap_verl.domains import Domains
from recap_verl.verl_adapter.hybrid_data import HybridCollate
from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION
from recap_verl.verl_adapter.teacher_forced import ANSWER, NAME

DOMAINS = Domains(
    {
        "math": {"role": "target", "data_sources": ["gsm8k"], "objectives": {"accuracy": {"timeout": 1.0}}},
        "ocr": {"kind": "sft", "template": "<answer>{}</answer>"},
        "plain": {"kind": "sft"},
        "own": {"kind": "sft", "source": "self"},
    }
)
STORED = {"token_ids": [7, 8], "topk_ids": [[7, 1], [8, 2]], "topk_log_probs": [[-0.1, -2.0], [-0.2, -1.0]]}


def row(source: str, index: int, truth="12", **columns) -> dict:
    """As verl 0.9.1's `RLHFDataset` gives it."""
    return {
        "data_source": source,
        "raw_prompt": [{"role": "user", "content": f"say {index}"}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index},
        "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
        "index": index,
        **columns,
    }


def collate(*rows: dict, **settings) -> dict:
    return HybridCollate(DOMAINS, "single_turn_agent", 4, **settings)([copy.deepcopy(row) for row in rows])


def test_generated_rows_get_the_configured_values_and_sft_rows_theirs():
    batch = collate(row("gsm8k", 0), row("ocr", 1), row("plain", 2), row("gsm8k", 3))
    assert batch["agent_name"].tolist() == ["single_turn_agent", NAME, NAME, "single_turn_agent"]
    assert batch["__rollout_n__"].tolist() == [4, 1, 1, 4]
    assert batch[ANSWER].tolist() == ["", "<answer>12</answer>", "12", ""]


def test_generated_rows_keep_what_the_data_set_says():
    said = {"agent_name": "tool_agent", "__rollout_n__": np.int64(2)}
    batch = collate(row("gsm8k", 0, **said), row("ocr", 1, **said), row("gsm8k", 2))
    assert batch["agent_name"].tolist() == ["tool_agent", NAME, "single_turn_agent"]
    assert batch["__rollout_n__"].tolist() == [2, 1, 4]
    assert all(type(n) is int for n in batch["__rollout_n__"]), "verl counts with range(n)"


def test_everything_else_is_verls():
    rows = [row("gsm8k", 0), row("ocr", 1)]
    batch, verls = collate(*rows), collate_fn(rows)
    assert batch.keys() == {*verls, "agent_name", "__rollout_n__", ANSWER, DISTRIBUTION}
    for name, column in verls.items():
        assert type(batch[name]) is type(column) and list(batch[name]) == list(column), name


def test_no_answer_at_all_is_an_error():
    with pytest.raises(ValueError, match="ground_truth is an empty list"):
        collate(row("ocr", 0, []))


def test_a_row_of_a_stranger_is_an_error():
    with pytest.raises(KeyError, match="'sat' belongs to no domain"):
        collate(row("sat", 0))


# ----------------------------------------------------------------- stored distributions


def test_distributions_are_kept_for_the_base_models_own_answers_and_if_asked_for():
    rows = [row(source, 0, **{DISTRIBUTION: STORED}) for source in ("own", "ocr", "gsm8k")]
    assert collate(*rows, distribution=True)[DISTRIBUTION].tolist() == [STORED, None, None]
    assert collate(*rows)[DISTRIBUTION].tolist() == [None, None, None]
    assert collate(row("own", 0), distribution=True)[DISTRIBUTION].tolist() == [None]


# ----------------------------------------------------------------- the way into verl


def as_verl_hands_it_to_the_agent_loop(batch) -> list[dict]:
    """Each row's columns (verl 0.9.1, `agent_loop_tq.py:AgentLoopWorkerTQ.generate_sequences`)."""
    prompts = []
    for i in range(len(batch)):
        columns = {k: v[i] if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        prompts.append({k: v[i].data if isinstance(v, NonTensorStack) else v for k, v in columns.items()})
    return prompts


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_verl_takes_the_batch(workers):
    rows = [
        row("gsm8k", 0),
        row("own", 1, **{DISTRIBUTION: STORED}),
        row("ocr", 2, json.dumps(["x", "y"])),
        row("own", 3),
    ]
    data = tu.get_tensordict(collate(*rows, distribution=True))
    prompts = [prompt for chunk in data.chunk(workers) for prompt in as_verl_hands_it_to_the_agent_loop(chunk)]
    assert [prompt["agent_name"] for prompt in prompts] == ["single_turn_agent", NAME, NAME, NAME]
    assert [list(range(prompt["__rollout_n__"])) for prompt in prompts] == [[0, 1, 2, 3], [0], [0], [0]]
    assert [prompt[ANSWER] for prompt in prompts] == ["", "12", "<answer>x</answer>", "12"]
    assert [prompt[DISTRIBUTION] for prompt in prompts] == [None, STORED, None, None]
    assert prompts[0]["raw_prompt"] == rows[0]["raw_prompt"]


@pytest.mark.parametrize("parts", [("gsm8k", "ocr"), ("ocr", "gsm8k"), ("ocr", "plain"), ("gsm8k", "gsm8k")])
def test_batches_of_one_kind_and_the_other_join(parts):
    """verl puts a batch of prompts together from several where `gen_batch_size` is smaller."""
    chunks = [tu.get_tensordict(collate(row(source, i), row(source, i + 2))) for i, source in enumerate(parts)]
    joined = as_verl_hands_it_to_the_agent_loop(tu.concat_tensordict(chunks))
    assert [prompt["index"] for prompt in joined] == [0, 2, 1, 3]
    of_kind = {"gsm8k": (4, "single_turn_agent"), "ocr": (1, NAME), "plain": (1, NAME)}
    expected = [of_kind[source] for source in parts for _ in range(2)]
    assert [(prompt["__rollout_n__"], prompt["agent_name"]) for prompt in joined] == expected


def test_it_travels_to_the_loaders_processes():
    rows = [row("gsm8k", 0), row("ocr", 1)]
    there = pickle.loads(pickle.dumps(HybridCollate(DOMAINS, "single_turn_agent", 4)))
    assert there(copy.deepcopy(rows))[ANSWER].tolist() == ["", "<answer>12</answer>"]
