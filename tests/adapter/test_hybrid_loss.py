"""One loss over generated and reference tokens, held against verl's own on the generated ones alone."""

import pytest
import torch
from hybrid_batch import (
    OF_THE_MICRO_BATCH,
    POLICY_LOSSES,
    Step,
    alone,
    assert_equal_rows,
    cut,
    next_token_sum,
    verls,
)
from verl.trainer.ppo.core_algos import kl_penalty
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.utils.py_functional import append_to_dict
from verl.workers.engine.utils import prepare_micro_batches

from recap_verl.advantage import LOSS_AGG_MODES
from recap_verl.verl_adapter.hybrid_loss import HybridLoss
from recap_verl.verl_adapter.ntp_fields import SOFT_NLL, WEIGHT

# ----------------------------------------------------------------- without next-token rows


def test_a_batch_without_next_token_rows_is_verls_own_affair():
    step, answer = Step("rrp"), (object(), object())
    data = step.data(hybrid=False)
    asked = []

    def rl_loss(model_output, data, dp_group=None):
        asked.append((model_output, data, dp_group))
        return answer

    output = step.output(data)
    assert HybridLoss(rl_loss)(output, data, dp_group="group") is answer
    assert asked[0][0] is output and asked[0][1] is data and asked[0][2] == "group"


@pytest.mark.parametrize("loss_mode", POLICY_LOSSES)
def test_without_next_token_rows_every_bit_is_verls(loss_mode):
    step = Step("rrpr")
    batches = cut(step.data(hybrid=False), 2)
    loss, metrics, gradients = step.run(verls(loss_mode), batches)
    hybrid_loss, hybrid_metrics, hybrid_gradients = step.run(HybridLoss(verls(loss_mode)), batches)
    assert (hybrid_loss, hybrid_metrics) == (loss, metrics)
    assert_equal_rows(hybrid_gradients, gradients, atol=0, rtol=0)


# ----------------------------------------------------------------- the two parts


@pytest.mark.parametrize("vision", [False, True], ids=["text", "vision"])
@pytest.mark.parametrize("loss_mode", POLICY_LOSSES)
def test_the_generated_rows_have_verls_loss_over_them_alone(loss_mode, vision):
    # No padding: in plain verl too, a row of it counts in geo_mean's mean and in some of bypass_mode's metrics.
    step = Step("rnrnnrnr", vision=vision)
    loss, metrics, gradients = step.run(HybridLoss(verls(loss_mode)), [step.data()])
    rl_loss, rl_metrics, rl_gradients = alone(step, verls(loss_mode))
    assert loss == pytest.approx(rl_loss + next_token_sum(step), rel=1e-5)
    assert metrics.pop("actor/ntp_loss") == pytest.approx(next_token_sum(step), rel=1e-5)
    assert metrics == pytest.approx(rl_metrics, rel=1e-5, abs=1e-7)
    generated = step.numbers("r")
    assert_equal_rows([gradients[n] for n in generated], [rl_gradients[n] for n in generated])
    assert any(gradients[n].abs().sum() > 0 for n in generated)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_in_every_aggregation(mode):
    step = Step()
    loss, _, gradients = step.run(HybridLoss(verls(loss_agg_mode=mode)), [step.data()])
    rl_loss, _, rl_gradients = alone(step, verls(loss_agg_mode=mode))
    assert loss == pytest.approx(rl_loss + next_token_sum(step), rel=1e-5)
    generated = step.numbers("r")
    assert_equal_rows([gradients[n] for n in generated], [rl_gradients[n] for n in generated])


def weight_gradient(row: dict) -> torch.Tensor:
    """-weight where a position predicts a reference token, 0 elsewhere; nothing on the entropy."""
    expected = torch.zeros(2, len(row["input_ids"]))
    expected[0, len(row["prompts"]) - 1 : -1] = -row[WEIGHT]
    return expected


@pytest.mark.parametrize("loss_mode", POLICY_LOSSES)
def test_reference_tokens_get_their_weight_and_nothing_else(loss_mode):
    step = Step()
    *_, gradients = step.run(HybridLoss(verls(loss_mode)), [step.data()])
    rows = step.numbers("n")
    assert_equal_rows([gradients[n] for n in rows], [weight_gradient(step.rows[n]) for n in rows], atol=0, rtol=0)
    assert all((gradients[n] == 0).all() for n in step.numbers("p"))


@pytest.mark.parametrize("far", [-50.0, 50.0])
def test_nothing_clips_or_weighs_reference_tokens(far):
    """Old log-probabilities, advantages and importance weights mean nothing there."""
    step, disturbed = Step(), Step()
    for number, row in enumerate(disturbed.rows):
        row["rollout_is_weights"] = step.rows[number]["rollout_is_weights"] = torch.ones(len(row["responses"]))
        if disturbed.kinds[number] == "n":
            row["old_log_probs"] = row["old_log_probs"] + far
            row["ref_log_prob"] = row["ref_log_prob"] + far
            row["advantages"] = torch.full_like(row["advantages"], far)
            row["rollout_is_weights"] = torch.full_like(row["advantages"], torch.inf)
    loss_fn = HybridLoss(verls())
    assert_same(disturbed.run(loss_fn, cut(disturbed.data(), 1)), step.run(loss_fn, cut(step.data(), 1)))


def assert_same(actual, expected, **tolerance):
    assert actual[0] == pytest.approx(expected[0], rel=1e-5)
    assert actual[1] == pytest.approx(expected[1], rel=1e-4, abs=1e-6)
    assert_equal_rows(actual[2], expected[2], **tolerance)


def test_importance_weights_of_generated_tokens_are_heeded():
    step = Step()
    for number, row in enumerate(step.rows):
        row["rollout_is_weights"] = torch.full((len(row["responses"]),), 0.5 + number)
    _, metrics, gradients = step.run(HybridLoss(verls()), [step.data()])
    _, rl_metrics, rl_gradients = alone(step, verls())
    del metrics["actor/ntp_loss"]
    assert metrics == pytest.approx(rl_metrics, rel=1e-5, abs=1e-7)
    assert_equal_rows([gradients[n] for n in step.numbers("r")], [rl_gradients[n] for n in step.numbers("r")])


# ----------------------------------------------------------------- how the rows are cut up


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("loss_mode", [name for name in POLICY_LOSSES if name not in OF_THE_MICRO_BATCH])
def test_micro_batches_change_nothing(loss_mode, size):
    """In ones and twos some hold generated rows alone, some reference rows alone, one of each, or padding."""
    step = Step("rnnnrprr", vision=loss_mode == "gspo")
    loss_fn = HybridLoss(verls(loss_mode), kl=0.1)
    whole, parts = step.run(loss_fn, [step.data()]), step.run(loss_fn, cut(step.data(), size))
    assert_same(parts, whole)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_micro_batches_change_nothing_in_any_aggregation(mode):
    step, loss_fn = Step("rnnnrprr"), HybridLoss(verls(loss_agg_mode=mode))
    assert_same(step.run(loss_fn, cut(step.data(), 1)), step.run(loss_fn, [step.data()]))


def test_micro_batches_by_tokens_change_nothing():
    step, loss_fn = Step(vision=True), HybridLoss(verls())
    data = step.data(use_dynamic_bsz=True, max_token_len_per_gpu=12)
    batches = prepare_micro_batches(data)[0]
    assert len(batches) > 2
    assert_same(step.run(loss_fn, batches), step.run(loss_fn, [step.data()]))


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_mini_batches_average_to_the_step(mini_batches):
    """The generated rows lie in one mini-batch or the other; both divide by the step's tokens."""
    step = Step("rrrnnnnr", mini_batches=mini_batches)
    whole = Step("rrrnnnnr")
    expected_loss, expected_metrics, expected = whole.run(HybridLoss(verls()), [whole.data()])
    size = len(step.rows) // mini_batches
    loss, summed, metrics = 0.0, [torch.zeros_like(gradient) for gradient in expected], []
    for start in range(0, len(step.rows), size):
        part = step.run(HybridLoss(verls()), cut(step.data(range(start, start + size)), 2))
        loss += part[0] / mini_batches
        metrics.append(part[1])
        # The reference rows' weights are those of one mini-batch here, as hand-built.
        share = [1.0 if step.kinds[n] == "n" else 1 / mini_batches for n in range(len(step.rows))]
        summed = [a + b * s for a, b, s in zip(summed, part[2], share, strict=True)]
    assert_equal_rows(summed, expected)
    assert loss == pytest.approx(expected_loss - (1 - 1 / mini_batches) * expected_metrics["actor/ntp_loss"], rel=1e-5)
    for name in expected_metrics.keys() - {"actor/ntp_loss"}:
        assert sum(m[name] for m in metrics) / mini_batches == pytest.approx(expected_metrics[name], rel=1e-4), name


def test_data_parallel_ranks_change_nothing():
    """verl averages gradients and metrics over ranks; one of these two has next-token rows alone."""
    step = Step("rrrrnnnn")
    whole = step.run(HybridLoss(verls()), [step.data()])
    total, metrics, gradients = 0.0, [], []
    for rows in (range(4), range(4, 8)):
        gathered: dict = {}
        for data in cut(step.data(rows, dp_size=2), 2):
            loss, of_micro_batch = HybridLoss(verls())(model_output=step.output(data), data=data)
            loss.backward()
            total += float(loss.detach()) / 2
            append_to_dict(gathered, of_micro_batch)
        metrics.append(gathered)
        gradients.append(step.gradients())
    assert total == pytest.approx(whole[0], rel=1e-5)
    assert metrics[0].keys() == metrics[1].keys()
    for name, value in whole[1].items():
        if isinstance(metrics[0][name], Metric):
            assert Metric.aggregate_dp([of[name] for of in metrics]) == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert_equal_rows([(a + b) / 2 for a, b in zip(*gradients, strict=True)], whole[2])


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("loss_mode", POLICY_LOSSES)
def test_metrics_have_the_same_names_and_kinds_in_every_micro_batch(loss_mode, entropy):
    """verl gathers them by name from all micro-batches and ranks, and refuses mixed kinds."""
    step, loss_fn = Step("rrnnrn"), HybridLoss(verls(loss_mode))
    kinds = []
    for data in cut(step.data(), 2):
        _, metrics = loss_fn(model_output=step.output(data, entropy), data=data)
        kinds.append([(name, getattr(metric, "aggregation", None)) for name, metric in metrics.items()])
    assert kinds[0] == kinds[1] == kinds[2]
    assert kinds[0][0] == ("actor/ntp_loss", AggregationType.SUM)


def test_metrics_of_reference_rows_alone_are_finite_and_add_nothing():
    step = Step("nnrr")
    data = cut(step.data(), 2)[0]
    # verl counts the mini-batch's own tokens, which may be none.
    tu.assign_non_tensor(data, batch_num_tokens=0)
    loss, metrics = HybridLoss(verls())(model_output=step.output(data), data=data)
    assert torch.isfinite(loss)
    for name, metric in metrics.items():
        if name not in ("actor/ntp_loss", "kl_coef"):
            assert metric.aggregate() == 0.0, name
    assert metrics["kl_coef"] == 0.2


# ----------------------------------------------------------------- a step of next-token rows alone


@pytest.mark.parametrize("size", [1, 2, 4])
def test_without_generated_tokens_verls_loss_is_not_asked(size):
    def never(**_):
        raise AssertionError("there is nothing to ask for")

    step = Step("nnpn")
    loss, metrics, gradients = step.run(HybridLoss(never), cut(step.data(), size))
    assert loss == pytest.approx(next_token_sum(step), rel=1e-6)
    assert metrics == {"actor/ntp_loss": pytest.approx(loss, rel=1e-6)}
    rows = step.numbers("n")
    assert_equal_rows([gradients[n] for n in rows], [weight_gradient(step.rows[n]) for n in rows], atol=0, rtol=0)


# ----------------------------------------------------------------- KL on reference tokens


@pytest.mark.parametrize("kl_type", ["low_var_kl", "k3+", "kl", "abs", "mse"])
def test_the_kl_term_is_verls_on_the_reference_tokens(kl_type):
    step, kl = Step(), 0.3
    loss, metrics, gradients = step.run(HybridLoss(verls(), kl, kl_type), cut(step.data(), 2))
    plain_loss, plain_metrics, plain_gradients = step.run(HybridLoss(verls()), cut(step.data(), 2))
    divergence = 0.0
    expected = [gradient.clone() for gradient in plain_gradients]
    for n in step.numbers("n"):
        row = step.rows[n]
        log_probs = row["log_probs"].detach().clone().requires_grad_()
        of_tokens = kl_penalty(log_probs[len(row["prompts"]) - 1 : -1], row["ref_log_prob"], kl_type)
        term = kl * (row[WEIGHT] * of_tokens).sum()
        term.backward()
        divergence += float(term.detach())
        expected[n][0] += log_probs.grad
    assert loss == pytest.approx(plain_loss + divergence, rel=1e-5)
    assert metrics.pop("actor/ntp_loss") == pytest.approx(plain_metrics.pop("actor/ntp_loss") + divergence, rel=1e-5)
    assert metrics == plain_metrics
    assert_equal_rows(gradients, expected)


def test_a_reference_equal_to_the_policy_adds_nothing():
    step = Step()
    for n in step.numbers("n"):
        row = step.rows[n]
        row["ref_log_prob"] = row["log_probs"][len(row["prompts"]) - 1 : -1].detach().clone()
    assert_same(step.run(HybridLoss(verls(), kl=5.0), [step.data()]), step.run(HybridLoss(verls()), [step.data()]))


def test_where_the_engine_gives_a_cross_entropy_it_is_the_loss():
    """Against the base model's stored distribution, on the rows that have one; the others keep their likelihood."""
    step = Step()
    soft_row, *other_rows = step.numbers("n")
    data = step.data()
    output = step.output(data)
    offsets = output["log_probs"].offsets()
    row = step.rows[soft_row]
    first, last = int(offsets[soft_row]) + len(row["prompts"]) - 1, int(offsets[soft_row + 1]) - 1
    soft = torch.full((int(offsets[-1]),), torch.nan)
    soft[first:last] = torch.arange(1.0, last - first + 1)
    soft.requires_grad_()
    output[SOFT_NLL] = torch.nested.nested_tensor_from_jagged(soft, offsets)
    loss, metrics = HybridLoss(verls())(model_output=output, data=data)
    loss.backward()
    expected = torch.zeros_like(soft)
    expected[first:last] = row[WEIGHT]
    torch.testing.assert_close(soft.grad, expected, atol=0, rtol=0)
    gradients = step.gradients()
    assert (gradients[soft_row] == 0).all()
    assert_equal_rows([gradients[n] for n in other_rows], [weight_gradient(step.rows[n]) for n in other_rows])
    _, alone_metrics, _ = alone(step, verls())
    del alone_metrics["kl_coef"]
    assert {name: metrics[name].aggregate() for name in alone_metrics} == pytest.approx(alone_metrics, rel=1e-5)


def test_rows_and_their_values_are_left_as_they_were():
    step = Step()
    data = step.data()
    before = {name: value.values().clone() for name, value in data.items() if getattr(value, "is_nested", False)}
    keys = set(data.keys())
    HybridLoss(verls(), kl=0.1)(model_output=step.output(data), data=data)
    assert set(data.keys()) == keys
    assert (data["batch_num_tokens"], data["global_batch_size"]) == (int(step.rl_tokens), len(step.rows))
    for name, values in before.items():
        torch.testing.assert_close(data[name].values(), values, equal_nan=True, atol=0, rtol=0)
