"""Steps with next-token rows, from TransferQueue's rows to what workers and metrics get of them."""

import copy

import pytest
import torch
from hybrid_step import DOMAINS, REWARDS, N, Rows, Trainer
from hypothesis import given, settings
from hypothesis import strategies as st
from transfer_queue import KVBatchMeta

from recap_verl.verl_adapter.hybrid_trainer import NextTokenRowsMixin
from recap_verl.verl_adapter.ntp_fields import RL_ROWS, RL_TOKENS, WANT_HITS, WEIGHT

# ----------------------------------------------------------------- what the workers are told


def test_the_first_pass_measures_the_reference_tokens(trainer, rows):
    rows.generated("math").reference("ocr", 3)
    trainer = trainer()
    batch, metrics = trainer.update(rows.meta(), until="compute_old_log_prob")
    ((keys, info),) = trainer.actor_rollout_wg.passes
    assert keys == batch.keys and info[WANT_HITS] is True and batch.extra_info[WANT_HITS] is False
    assert trainer._sft_keys == [key for key in batch.keys if rows.queue.rows[key]["data_source"] == "ocr"][:3]
    for key in batch.keys:
        marks = rows.queue.rows[key][WEIGHT]
        assert len(marks) == len(rows.queue.rows[key]["responses"])
        assert bool((marks == 1).all() if key in trainer._sft_keys else marks.isnan().all())
    # verl's own entropy is that of generated tokens, and 1 for each.
    assert metrics["actor/entropy"] == pytest.approx(1.0)


def test_padding_copied_from_a_reference_row_is_not_learnt(trainer, rows):
    rows.reference("ocr").generated("math")
    trainer = trainer()
    batch, _ = trainer.update(rows.meta())
    padding = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if tag.get("is_padding")]
    assert len(padding) == 3 * N - 5
    for key in padding:
        assert rows.queue.rows[key]["data_source"] == "ocr" and rows.queue.rows[key][WEIGHT].isnan().all()
    assert set(trainer._sft_keys).isdisjoint(padding)


def test_what_verl_averages_the_generated_rows_over(trainer, rows):
    rows.generated("math", 2).reference("ocr", 5).generated("box", 2).reference("text")
    trainer = trainer()
    batch, _ = trainer.update(rows.meta())
    assert len(batch) == 24
    generated = [key for key in rows.keys if rows.queue.rows[key]["data_source"] in REWARDS]
    tokens = sum(len(rows.queue.rows[key]["responses"]) for key in generated)
    assert batch.extra_info[RL_TOKENS] == tokens / 2 and batch.extra_info[RL_ROWS] == len(generated) / 2


def test_a_batch_of_reference_rows_alone_has_no_entropy_of_generated_tokens(trainer, rows):
    """A step of several updates logs the mean over them, which one NaN would make NaN."""
    settings = {"actor_rollout_ref.rollout.calculate_log_probs": True}
    _, metrics = trainer(**settings).update(rows.reference("ocr", 5).meta(), until="compute_old_log_prob")
    assert [name for name, value in metrics.items() if value != value] == []
    _, metrics = trainer(**settings).update(rows.generated("math").meta(), until="compute_old_log_prob")
    assert {"actor/entropy", "training/rollout_probs_diff_max"} <= metrics.keys()


@pytest.mark.parametrize("domains", [DOMAINS, {name: DOMAINS[name] for name in ("math", "box")}], ids=["sft", "no sft"])
def test_a_batch_without_reference_rows_is_verls_own_affair(trainer, rows, domains):
    rows.generated("math").generated("box", 2)
    trainer = trainer(**{"recap.domains": domains})
    batch, _ = trainer.update(rows.meta())
    assert not [name for row in rows.queue.rows.values() for name in row if name.startswith("ntp_")]
    assert not [name for name in batch.extra_info if name.startswith("ntp_")]
    assert trainer._next_token_keys_of_step == set()


def test_where_verl_takes_the_rollout_engines_log_probabilities(trainer, rows):
    """Reference tokens have none: they, and who fills the workers up, are computed."""
    rows.generated("math").reference("ocr", 3)
    trainer = trainer(ranks=2, **{"algorithm.rollout_correction.bypass_mode": True})
    batch, _ = trainer.update(rows.meta(), until="compute_old_log_prob")
    ((keys, info),) = trainer.actor_rollout_wg.passes
    assert len(keys) == 4 and set(trainer._sft_keys) < set(keys)
    assert info[WANT_HITS] is True and info["temperature"] == 1.0 and info["calculate_entropy"] is False
    assert not batch.extra_info.get(WANT_HITS)
    for key in rows.keys:
        row = rows.queue.rows[key]
        size = len(row["responses"])
        own = trainer.actor_rollout_wg.leaves[key].detach()[-size - 1 : -1] if key in trainer._sft_keys else None
        expected = torch.full((size,), -3.0) if own is None else own
        torch.testing.assert_close(row["old_log_probs"], expected)
    trainer._compute_advantage(batch, {})
    assert trainer._step_metrics["recap/loss/ocr/ntp"][0] > 0 and "recap/token_accuracy/ocr" in trainer._step_metrics


@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_the_reference_policy_sees_reference_tokens_only_if_asked(trainer, rows, kl):
    rows.generated("math").reference("ocr", 5)
    trainer = trainer(**{"actor_rollout_ref.actor.use_kl_loss": True, "recap.ntp.kl": kl})
    batch, _ = trainer.update(rows.meta(), until="compute_ref_log_prob")
    keys, info = trainer.actor_rollout_wg.passes[-1]
    assert (keys == batch.keys) is bool(kl)
    assert set(trainer._sft_keys).isdisjoint(keys) is not bool(kl)
    assert not info.get(WANT_HITS)
    for key in batch.keys:
        row = rows.queue.rows[key]
        expected = row["old_log_probs"] - 0.25 if key in keys else torch.zeros_like(row["old_log_probs"])
        torch.testing.assert_close(row["ref_log_prob"], expected)


def test_the_reference_policy_of_lora_is_asked_in_the_actors_micro_batches(trainer, rows):
    """It is the actor without its adapter, and verl's engine refuses what micro-batches do not divide."""
    rows.generated("math").reference("ocr", 5)
    micro_batches = {"rollout.log_prob_micro_batch_size_per_gpu": 3, "ref.log_prob_micro_batch_size_per_gpu": None}
    settings = {f"actor_rollout_ref.{name}": size for name, size in micro_batches.items()}
    trainer = trainer(ranks=2, **{"actor_rollout_ref.actor.use_kl_loss": True, **settings})
    trainer.ref_in_actor = True
    batch, _ = trainer.update(rows.meta(), until="compute_ref_log_prob")
    keys, info = trainer.actor_rollout_wg.passes[-1]
    assert len(keys) == 6 and info["no_lora_adapter"] is True
    assert set(trainer._generated_keys(batch)) < set(keys)


def test_the_reference_policy_is_not_asked_for_nothing(trainer, rows):
    rows.reference("ocr", 12)
    trainer = trainer(**{"actor_rollout_ref.actor.use_kl_loss": True})
    batch, _ = trainer.update(rows.meta())
    assert len(trainer.actor_rollout_wg.passes) == 1, "the one for old log-probabilities"
    assert all("ref_log_prob" in rows.queue.rows[key] for key in batch.keys)


def test_a_kl_penalty_in_the_reward_of_reference_rows_alone(trainer, rows):
    rows.reference("ocr", 12)
    trainer = trainer(**{"algorithm.use_kl_in_reward": True})
    batch, _ = trainer.update(rows.meta())
    for key in batch.keys:
        for name in ("advantages", "returns", "token_level_rewards"):
            assert rows.queue.rows[key][name].tolist() == [0.0] * len(rows.queue.rows[key]["responses"])


# ----------------------------------------------------------------- which rows a pass gets


def subset(batch: KVBatchMeta, keys: list[str], multiple: int) -> KVBatchMeta:
    return NextTokenRowsMixin()._subset(batch, keys, multiple)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_part_of_a_batch_is_filled_up_to_what_workers_divide(data):
    ranks, micro_batch = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    size = ranks * micro_batch * data.draw(st.integers(1, 4))
    keys = [f"u{i}_0_0" for i in range(size)]
    tags = [{"number": i} for i in range(size)]
    batch = KVBatchMeta(keys=keys, tags=tags, partition_id="train", fields=["x"], extra_info={"temperature": 0.5})
    wanted = data.draw(st.lists(st.sampled_from(keys), unique=True))
    part = subset(batch, wanted, ranks * micro_batch)
    assert len(part) % (ranks * micro_batch) == 0
    assert set(wanted) <= set(part.keys) <= set(keys)
    assert len(part) - len(wanted) < ranks * micro_batch, "no more than needed"
    numbers = [tag["number"] for tag in part.tags]
    assert numbers == sorted(numbers) and [keys[number] for number in numbers] == part.keys
    assert (part.partition_id, part.fields, part.extra_info) == ("train", ["x"], {"temperature": 0.5})
    part.extra_info["temperature"] = 1.0
    assert batch.extra_info["temperature"] == 0.5 and len(batch) == size


def test_a_part_that_cannot_be_filled_up_is_the_whole():
    keys = [f"u{i}_0_0" for i in range(6)]
    batch = KVBatchMeta(keys=keys, tags=[{} for _ in keys], partition_id="train")
    assert subset(batch, keys[:5], 8).keys == keys
    assert subset(batch, [], 8).keys == []
    assert subset(batch, keys, 6).keys == keys


# ----------------------------------------------------------------- verl's statistics


def statistics(trainer: Trainer, batch: KVBatchMeta) -> dict:
    metrics: dict = {}
    trainer._compute_metrics(batch, metrics, {"step": 1.0, "gen": 1.0}, global_steps=1, epoch=0)
    return metrics


def test_statistics_of_responses_are_of_generated_ones(trainer, rows):
    rows.generated("math").reference("ocr", 4).generated("box")
    trainer = trainer()
    batch, _ = trainer.update(rows.meta())
    for number, key in enumerate(rows.keys):
        rows.queue.rows[key]["num_turns"] = 2 if rows.queue.rows[key]["data_source"] != "ocr" else 99
        rows.queue.tags[key] = {**rows.queue.tags[key], "min_global_steps": number}
    tags_before = copy.deepcopy(batch.tags)
    metrics = statistics(trainer, batch)
    assert batch.tags == tags_before
    generated = [key for key in rows.keys if rows.queue.rows[key]["data_source"] != "ocr"]
    lengths = [len(rows.queue.rows[key]["responses"]) for key in generated]
    assert metrics["response_length/mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert metrics["training/num_turns/max"] == 2
    # Throughput counts every row, padding too, as verl's own does.
    every = sum(len(rows.queue.rows[key]["input_ids"]) for key in batch.keys)
    assert metrics["perf/total_num_tokens"] == every


def test_statistics_of_a_step_of_reference_rows_are_of_those(trainer, rows):
    rows.reference("ocr", 5)
    trainer = trainer()
    batch, _ = trainer.update(rows.meta())
    metrics = statistics(trainer, batch)
    lengths = [len(rows.queue.rows[key]["responses"]) for key in rows.keys]
    assert metrics["response_length/mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert metrics["critic/score/mean"] == 0.0


def test_rows_of_all_updates_of_a_step_are_remembered_and_then_forgotten(trainer, rows):
    """verl puts the batches of several updates together before it computes its statistics."""
    trainer = trainer()
    first = Rows(rows.queue).generated("math").reference("ocr", 2)
    second = Rows(rows.queue)
    second.prompts = 50
    second.generated("box").reference("text", 3)
    remembered = set()
    for part in (first, second):
        trainer.update(part.meta())
        remembered.update(trainer._sft_keys)
    assert len(remembered) == 5 and trainer._next_token_keys_of_step == remembered
    trainer._step_once = lambda metrics, timing_raw, size: first.meta()
    trainer.prepare_step, trainer.parameter_sync_step = dict, 1
    trainer.step({}, {})
    assert trainer._next_token_keys_of_step == set()


def test_the_scheduler_observes_the_loss_before_the_update(trainer, rows, monkeypatch):
    rows.generated("math").reference("ocr", 3)
    trainer, observed = trainer(), []
    monkeypatch.setattr(trainer.scheduler, "observe", observed.append)
    trainer.update(rows.meta())
    tokens = torch.cat([-rows.queue.rows[key]["old_log_probs"] for key in trainer._sft_keys])
    assert [set(means) for means in observed] == [{"math/accuracy", "math/think_format", "ocr/ntp"}]
    assert observed[0]["ocr/ntp"] == pytest.approx(float(tokens.mean()))
    assert trainer._step_metrics["recap/loss/ocr/ntp"] == [observed[0]["ocr/ntp"]]
    assert trainer._step_metrics["recap/share/ocr"] == [0.75]


def test_a_kl_penalty_is_measured_on_the_generated_rows(trainer, rows):
    """verl's adaptive controller follows this mean over rows, and reference rows have a penalty of 0."""
    settings = {"algorithm.use_kl_in_reward": True}
    rows.generated("math", 3)
    _, alone = trainer(**settings).update(rows.meta(), until="compute_advantage")
    _, mixed = trainer(**settings).update(rows.reference("ocr", 12).meta(), until="compute_advantage")
    assert mixed["actor/reward_kl_penalty"] == pytest.approx(alone["actor/reward_kl_penalty"])
