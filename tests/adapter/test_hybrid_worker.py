"""What the worker's engine adds to verl's outputs: hits and the cross-entropy against stored distributions."""

from types import SimpleNamespace

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict
from verl.utils import tensordict_utils as tu

from recap_verl.verl_adapter.hybrid_worker import NextTokenEngine
from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION, HITS, SOFT_NLL, WANT_HITS, WANT_SOFT_NLL

VOCABULARY = 11
PROMPTS, RESPONSES = (3, 2, 4), (2, 3, 1)


class VerlEngine:
    """Where verl's engine would answer; records the temperature it is given."""

    def prepare_model_outputs(self, output, output_args, micro_batch, logits_processor_func):
        # verl may scale the logits where they lie.
        output.logits.data.div_(0.5)
        return {"log_probs": None}

    def forward_backward_batch(self, data, loss_function, forward_only=False):
        return data["temperature"]

    def _gather_and_unpad_packed(self, values, pad_size):
        return values[: len(values) - pad_size]


class Engine(NextTokenEngine, VerlEngine):
    pass


def nested(rows) -> torch.Tensor:
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def stored(length: int, k: int = 4) -> dict:
    ids = [torch.randperm(VOCABULARY)[:k].tolist() for _ in range(length)]
    return {"token_ids": [row[0] for row in ids], "topk_ids": ids, "topk_log_probs": torch.randn(length, k).tolist()}


@pytest.fixture(params=["padded", "packed"])
def batch(request):
    """Logits as the engine sees them, the micro-batch, verl's arguments, and each row's own logits."""
    torch.manual_seed(0)
    lengths = [p + r for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    ids = [torch.randint(VOCABULARY, (length,)) for length in lengths]
    own = [torch.randn(length, VOCABULARY, requires_grad=True) for length in lengths]
    rolled = torch.cat(ids).roll(-1)
    if request.param == "packed":
        logits, pad = torch.cat([*own, torch.randn(2, VOCABULARY)])[None], 2
        arguments = {"input_ids_rmpad_rolled": torch.cat([rolled, torch.zeros(2, dtype=torch.long)]), "pad_size": pad}
    else:
        logits = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
        arguments = {"input_ids_rmpad_rolled": rolled}
    # The middle row was cut: it stores more tokens than its response has.
    column = NonTensorStack(*[NonTensorData(row) for row in (None, stored(RESPONSES[1] + 2), stored(RESPONSES[2]))])
    data = TensorDict(
        {"input_ids": nested(ids), "responses": nested(row[-r:] for row, r in zip(ids, RESPONSES, strict=True))},
        batch_size=3,
    )
    data[DISTRIBUTION] = column
    tu.assign_non_tensor(data, use_remove_padding=request.param == "packed")
    return SimpleNamespace(output=SimpleNamespace(logits=logits), data=data, arguments=arguments, own=own, ids=ids)


def outputs(batch, **wanted) -> dict:
    tu.assign_non_tensor(batch.data, **wanted)
    return Engine().prepare_model_outputs(batch.output, batch.arguments, batch.data, None)


def test_nothing_is_added_unasked(batch):
    assert outputs(batch).keys() == {"log_probs"}


def test_a_hit_is_a_token_that_was_the_first_choice(batch):
    expected = [own.argmax(dim=-1)[:-1] == ids[1:] for own, ids in zip(batch.own, batch.ids, strict=True)]
    hits = outputs(batch, **{WANT_HITS: True})[HITS].unbind()
    assert all(row[:-1].bool().equal(want) for row, want in zip(hits, expected, strict=True))


def test_the_cross_entropy_is_against_the_renormalised_distribution(batch):
    own = [row.detach().clone() for row in batch.own]
    soft = outputs(batch, **{WANT_SOFT_NLL: True})[SOFT_NLL].unbind()
    assert soft[0].isnan().all()
    for row in (1, 2):
        first, distribution = PROMPTS[row] - 1, batch.data[DISTRIBUTION][row]
        for position in range(RESPONSES[row]):
            q = own[row][first + position].log_softmax(dim=-1)[distribution["topk_ids"][position]]
            p = torch.tensor(distribution["topk_log_probs"][position]).exp()
            expected = -(p / p.sum() * q).sum()
            assert soft[row][first + position].item() == pytest.approx(expected.item(), rel=1e-5)
        assert soft[row][:first].isnan().all() and soft[row][first + RESPONSES[row] :].isnan().all()


def test_the_gradient_reaches_the_answers_and_nothing_else(batch):
    soft = outputs(batch, **{WANT_SOFT_NLL: True})[SOFT_NLL].values()
    soft.nan_to_num(0.0).sum().backward()
    assert batch.own[0].grad is None or not batch.own[0].grad.any()
    for row in (1, 2):
        learnt = batch.own[row].grad.abs().sum(dim=-1) > 0
        expected = [PROMPTS[row] - 1 <= position < PROMPTS[row] - 1 + RESPONSES[row] for position in range(len(learnt))]
        assert learnt.tolist() == expected


def test_reference_tokens_are_scored_at_temperature_one():
    weights = nested([torch.full((2,), float("nan")), torch.ones(3), torch.full((1,), float("nan"))])
    data = TensorDict({"ntp_weight": weights}, batch_size=3)
    tu.assign_non_tensor(data, temperature=0.7)
    assert Engine().forward_backward_batch(data, None).tolist() == pytest.approx([0.7, 1.0, 0.7])
    tu.assign_non_tensor(data, temperature=1.0)
    assert Engine().forward_backward_batch(data, None) == 1.0
    plain = TensorDict({}, batch_size=3)
    tu.assign_non_tensor(plain, temperature=0.7)
    assert Engine().forward_backward_batch(plain, None) == 0.7
