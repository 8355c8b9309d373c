"""The loss of steps with next-token rows against the loss written down independently, by its gradient."""

import pytest
import torch
from hybrid_step import HORIZON, REWARDS, N, Reference, assert_gradients, gradients_of
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import agg_loss

from recap_verl.advantage import LOSS_AGG_MODES

BATCHES = {
    "one of each": lambda rows: rows.generated("math").reference("ocr"),
    "all domains": lambda rows: rows.generated("math").reference("ocr", 3).generated("box").reference("text", 2),
    "two mini-batches": lambda rows: (
        rows.generated("math", 2).reference("ocr", 5).generated("box", 2).reference("text")
    ),
    "generated alone": lambda rows: rows.generated("math").generated("box", 2),
    "reference alone": lambda rows: rows.reference("ocr", 5).reference("text", 8),
}


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@pytest.mark.parametrize("fill", BATCHES.values(), ids=BATCHES.keys())
def test_the_gradient_is_that_of_the_weighted_mean_of_all_losses(trainer, rows, fill, mode):
    fill(rows)
    trainer = trainer(**{"actor_rollout_ref.actor.loss_agg_mode": mode})
    trainer.update(rows.meta())
    # Padding rows fill the batch up, and every batch here needs some.
    reference = Reference(trainer, rows.keys, mode)
    assert_gradients(gradients_of(trainer, mode), reference.gradients(reference.total()))


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_by_rows_it_is_that_of_one_aggregation_over_all_rows(trainer, rows, mode):
    rows.generated("math").reference("ocr", 3).generated("box").reference("text", 2)
    trainer = trainer(**{"actor_rollout_ref.actor.loss_agg_mode": mode, "recap.objective_mean": False})
    trainer.update(rows.meta())
    reference = Reference(trainer, rows.keys, mode)
    matrix = torch.zeros(len(rows.keys), int(reference.mask(rows.keys).shape[1]))
    for name, keys in reference.carriers.items():
        objective = name.rsplit("/", 1)[1]
        own = -reference.log_probs(keys)
        if objective != "ntp":
            advantages = reference.advantages(keys, [reference.reward(key, objective) for key in keys])
            own = reference.surrogate(keys, advantages)
        positions = torch.tensor([rows.keys.index(key) for key in keys])
        own = torch.nn.functional.pad(own, (0, matrix.shape[1] - own.shape[1]))
        matrix = matrix.index_add(0, positions, reference.weights[name] * own)
    loss = agg_loss(matrix, reference.mask(rows.keys), mode, loss_scale_factor=HORIZON)
    assert_gradients(gradients_of(trainer, mode), reference.gradients(loss))


def test_weights_on_rewards_leave_the_losses_their_weights(trainer, rows):
    """Generated rows have one normalised sum of rewards; it falls to them what their objectives weigh together."""
    rows.generated("math").reference("ocr", 3).generated("box").reference("text", 2)
    trainer = trainer(**{"recap.weight_on": "reward"})
    trainer.update(rows.meta())
    reference = Reference(trainer, rows.keys, "token-mean")
    generated = [
        key for name, keys in reference.carriers.items() if name in ("math/accuracy", "box/iou") for key in keys
    ]
    summed = []
    for key in generated:
        source = reference.queue.rows[key]["data_source"]
        summed.append(sum(reference.weights[f"{source}/{n}"] * reference.reward(key, n) for n in REWARDS[source]))
    matrix = reference.surrogate(generated, reference.advantages(generated, summed))
    of_rewards = sum(weight for name, weight in reference.weights.items() if not name.endswith("/ntp"))
    loss = of_rewards * agg_loss(matrix, reference.mask(generated), "token-mean")
    losses = reference.losses()
    loss = loss + sum(reference.weights[name] * losses[name] for name in ("ocr/ntp", "text/ntp"))
    assert_gradients(gradients_of(trainer, "token-mean"), reference.gradients(loss / len(losses)))


def test_reference_tokens_may_be_averaged_in_another_way(trainer, rows):
    rows.generated("math").reference("ocr", 3)
    trainer = trainer(**{"recap.ntp.loss_agg_mode": "seq-mean-token-sum"})
    trainer.update(rows.meta())
    one, other = (Reference(trainer, rows.keys, mode) for mode in ("token-mean", "seq-mean-token-sum"))
    expected = one.gradients(one.total()) | {
        key: gradient for key, gradient in other.gradients(other.total()).items() if key in other.carriers["ocr/ntp"]
    }
    assert_gradients(gradients_of(trainer, "token-mean"), expected)


@pytest.mark.parametrize("micro_batch", [1, 12])
def test_micro_batches_change_nothing(trainer, rows, micro_batch):
    rows.generated("math", 2).reference("ocr", 5).generated("box", 2).reference("text")
    trainer = trainer(micro_batch=micro_batch)
    trainer.update(rows.meta())
    reference = Reference(trainer, rows.keys, "token-mean")
    assert_gradients(gradients_of(trainer, "token-mean"), reference.gradients(reference.total()))


def test_generated_rows_whose_objectives_failed_are_rows_without_a_reward(trainer, rows):
    rows.generated("math", failed=True).reference("ocr", 3)
    trainer = trainer()
    batch, _ = trainer.update(rows.meta())
    assert all((trainer.actor_rollout_wg.queue.rows[key]["advantages"] == 0).all() for key in batch.keys)
    reference = Reference(trainer, rows.keys, "token-mean")
    assert list(reference.carriers) == ["ocr/ntp"]
    actual = gradients_of(trainer, "token-mean")
    expected = reference.gradients(reference.total())
    assert_gradients(actual, {key: expected[key] for key in reference.carriers["ocr/ntp"]})


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_rejected_rows_weigh_the_same_with_and_without_reference_rows(trainer, rows, mode):
    """verl masks responses it rejects when it computes advantages; its actor goes on dividing by all of them."""
    settings = {
        "actor_rollout_ref.actor.loss_agg_mode": mode,
        "algorithm.rollout_correction.rollout_rs": "seq_mean_k3",
        "algorithm.rollout_correction.rollout_rs_threshold": 5.0,
    }
    generated = list(rows.generated("math", 3).keys)
    alone = trainer(**settings)
    alone.update(rows.meta())
    kept = [key for key in generated if rows.queue.rows[key]["response_mask"].any()]
    assert 0 < len(kept) < len(generated)
    for key in generated:
        rows.queue.rows[key]["response_mask"] = rows.queue.rows[key]["loss_mask"]
    mixed = trainer(**settings)
    mixed.actor_rollout_wg.leaves = alone.actor_rollout_wg.leaves
    mixed.update(rows.reference("ocr", 12).meta())
    # All that changes is the objectives' part in the sum of weights.
    weights = Reference(mixed, rows.keys, mode).weights
    share = sum(weight for name, weight in weights.items() if name != "ocr/ntp") / len(weights)
    expected = {key: share * gradient for key, gradient in gradients_of(alone, mode).items()}
    actual = gradients_of(mixed, mode)
    assert_gradients({key: actual[key] for key in generated}, {key: expected[key] for key in generated})


def test_a_critic_learns_from_the_generated_rows_alone(trainer, rows):
    """What falls to them is the share of their objectives' weights."""
    rows.generated("math").reference("ocr", 3).generated("box")
    for key in rows.keys:
        rows.queue.rows[key]["values"] = torch.zeros(len(rows.queue.rows[key]["responses"]))
    mixed = trainer(**{"algorithm.adv_estimator": "gae"})
    batch, _ = mixed.update(rows.meta(), until="compute_old_log_prob")
    for key in batch.keys[len(rows.keys) :]:
        rows.queue.rows[key]["values"] = torch.zeros(1)
    mixed._compute_advantage(batch, {})
    generated = [key for key in rows.keys if rows.queue.rows[key]["data_source"] != "ocr"]
    advantages = {key: rows.queue.rows[key]["advantages"] for key in generated}
    weights = Reference(mixed, rows.keys, "token-mean").weights
    share = sum(weight for name, weight in weights.items() if name != "ocr/ntp") / len(weights)
    assert 0 < share < 1
    tags = [rows.queue.tags[key] for key in generated]
    alone = trainer(**{"algorithm.adv_estimator": "gae"})
    alone.actor_rollout_wg = mixed.actor_rollout_wg
    alone.update(KVBatchMeta(keys=generated, tags=tags, partition_id="train"), until="compute_advantage")
    for key in generated:
        torch.testing.assert_close(advantages[key], share * rows.queue.rows[key]["advantages"], atol=1e-5, rtol=1e-4)


def test_critic_warm_up_may_pad_to_less_than_the_actors_mini_batch(trainer, rows):
    """verl then fills the batch up to the critic's mini-batches alone, and does not update the actor."""
    rows.generated("math").reference("ocr", 3)
    trainer = trainer(
        critic=True,
        **{
            "algorithm.adv_estimator": "gae",
            "critic.ppo_mini_batch_size": 2,
            "trainer.critic_warmup": 5,
        },
    )
    batch, _ = trainer.update(rows.meta(), until="compute_old_log_prob")
    assert len(batch) == 8 < 3 * N
    for key in batch.keys:
        rows.queue.rows[key]["values"] = torch.zeros(len(rows.queue.rows[key]["responses"]))
    trainer._compute_advantage(batch, {})
    assert all(rows.queue.rows[key]["advantages"].isfinite().all() for key in batch.keys)
