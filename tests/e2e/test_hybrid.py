"""Reinforcement learning and next-token learning in one step, through verl's trainer and vLLM."""

import math
import subprocess
import sys

import pytest

from recap_verl.lab import tiny

pytestmark = pytest.mark.e2e

# data.train_batch_size of every run.
BATCH = 6

SELF_DOMAINS = """
a: {role: target, objectives: {letters: {fn: "toy_objectives:letters"}}}
self: {kind: sft, source: self, data_sources: [self/trivia]}
"""


def mean(run, name: str, steps) -> float:
    return sum(run.metrics[step][name] for step in steps) / len(steps)


def shares_behind(metrics) -> dict[str, float]:
    """The next batch's shares, by the mean weight of each domain's objectives."""
    objectives = {"a": ("letters", "think_format"), "b": ("letters", "answer_format"), "c": ("ntp",)}
    means = {
        domain: sum(metrics.get(f"recap/weight/{name}", 1.0) for name in names) / len(names)
        for domain, names in objectives.items()
    }
    return {domain: value / sum(means.values()) for domain, value in means.items()}


def test_thirty_steps_learn_answers_and_rewards_and_report_everything(launch, hybrid, tmp_path):
    run = launch(
        [
            hybrid,
            # At a temperature that leaves every batch a row of each domain.
            "recap.mixture_follows_weights=true",
            "recap.scheduler.temperature=2",
            "trainer.total_training_steps=30",
            "trainer.test_freq=30",
            "trainer.logger=[console,file,tensorboard,wandb]",
        ],
        tmp_path,
        env={"TENSORBOARD_DIR": str(tmp_path / "tensorboard"), "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.end
    assert sorted(run.metrics) == list(range(31))
    first, last = range(1, 6), range(26, 31)
    assert mean(run, "recap/loss/c/ntp", last) < 0.6 * mean(run, "recap/loss/c/ntp", first)
    assert mean(run, "recap/token_accuracy/c", last) > mean(run, "recap/token_accuracy/c", first)
    for domain in "ab":
        # Letters are rewarded in both: the model learns to write them.
        assert mean(run, f"recap/reward/{domain}/letters", last) > mean(run, f"recap/reward/{domain}/letters", first)
    rows, expected = dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 0.0)
    for step in range(1, 31):
        for domain, share in shares_behind(run.metrics[step - 1]).items():
            expected[domain] += BATCH * share
        metrics = run.metrics[step]
        weights = [metrics[f"recap/weight/{name}"] for name in ("letters", "think_format", "answer_format", "ntp")]
        assert math.isclose(sum(weights), 4, abs_tol=1e-9)
        # Two windows of 2 observations: uniform before the fourth.
        assert (weights == [1.0] * 4) == (step < 4)
        for domain in "abc":
            rows[domain] += BATCH * metrics[f"recap/share/{domain}"]
            assert abs(rows[domain] - expected[domain]) < 2
        # verl's own statistics are of the generated responses alone.
        assert metrics["critic/score/mean"] > 0
        assert metrics["recap/ntp_cut_answers"] == metrics["recap/objective_errors"] == 0
        assert metrics["timing_s/recap"] > 0 and math.isfinite(metrics["actor/grad_norm"])
    shares = [share for metrics in run.metrics.values() for share in shares_behind(metrics).values()]
    assert max(abs(share - 1 / 3) for share in shares) > 0.02, "the shares never moved"
    for source in ("toy/a", "toy/b", "toy/c"):
        score = f"val-core/{source}/acc/mean@1"
        assert run.metrics[30][f"recap/retention/{source}"] == run.metrics[30][score] - run.metrics[0][score]
    # Every logger that verl writes to has them.
    assert "recap/weight/letters" in run.log
    for written in ("tensorboard/**/events.*", "wandb/**/*.wandb"):
        assert any(b"recap/loss/c/ntp" in file.read_bytes() for file in tmp_path.glob(written)), written


def test_mini_batches_epochs_reference_policy_and_packed_rows(launch, hybrid, tmp_path):
    """Everything that could mix the two kinds of rows up, at once; answers are longer than responses may be."""
    run = launch(
        [
            hybrid,
            "+recap.domains.c.template='say the number {} aloud'",
            "recap.ntp.kl=0.1",
            "data.train_batch_size=9",
            "actor_rollout_ref.actor.ppo_mini_batch_size=3",
            "actor_rollout_ref.actor.ppo_epochs=2",
            "actor_rollout_ref.actor.shuffle=true",
            "actor_rollout_ref.actor.use_dynamic_bsz=true",
            "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=256",
            "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean",
            "actor_rollout_ref.actor.policy_loss.loss_mode=gspo",
            "actor_rollout_ref.actor.entropy_coeff=0.01",
            "actor_rollout_ref.actor.use_kl_loss=true",
            "actor_rollout_ref.model.use_remove_padding=true",
            "actor_rollout_ref.rollout.temperature=0.9",
            "algorithm.rollout_correction.bypass_mode=true",
            "actor_rollout_ref.rollout.calculate_log_probs=true",
            "trainer.n_gpus_per_node=2",
            "trainer.total_training_steps=3",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    steps = [run.metrics[step] for step in (1, 2, 3)]
    losses = [metrics["recap/loss/c/ntp"] for metrics in steps]
    assert losses[2] < losses[1] < losses[0] < 6, losses
    for metrics in steps:
        assert metrics["recap/ntp_cut_answers"] == 3
        assert all(math.isfinite(metrics[f"actor/{name}"]) for name in ("pg_loss", "ntp_loss", "kl_loss", "grad_norm"))


def test_images_in_both_kinds_of_rows(launch, tmp_path, vision_data):
    model, overrides = vision_data
    run = launch(
        [
            *overrides,
            f"actor_rollout_ref.model.path={model}",
            "actor_rollout_ref.rollout.calculate_log_probs=true",
            "trainer.total_training_steps=3",
            "trainer.test_freq=3",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    # The rollout engine sees the images that the actor sees: at most 9e-5 apart, and from 9e-4 on where it sees noise.
    differences = [run.metrics[step]["training/rollout_probs_diff_max"] for step in (1, 2, 3)]
    assert max(differences) < 3e-4, differences
    losses = [run.metrics[step]["recap/loss/read/ntp"] for step in (1, 2, 3)]
    assert losses[2] < losses[1] < losses[0] < 6, losses
    # 2 x 3 image tokens in the prompt of either kind, none of them cut away.
    assert run.metrics[1]["prompt_length/min"] > 6
    assert {"val-core/find/acc/mean@1", "val-core/read/acc/mean@1"} <= run.metrics[3].keys()


def test_the_base_models_own_answers_and_their_distributions(launch, environment, tmp_path, workspace, write_rows):
    prompts = write_rows(tmp_path / "prompts.parquet", 2, ("trivia",))
    command = [
        *(sys.executable, "-m", "recap_verl.self_replay", str(prompts), "--out", str(tmp_path / "self.parquet")),
        *("--model", workspace.model, "--max-response-length", "12", "--top-k", "5"),
        # A random model's likeliest answer is blank, and it never ends one.
        *("--temperature", "1", "--keep-cut"),
    ]
    answered = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=1200)
    assert answered.returncode == 0, answered.stderr[-3000:]

    rl_rows = write_rows(tmp_path / "rl.parquet", 12, ("a",))
    (tmp_path / "domains.yaml").write_text(SELF_DOMAINS)
    # Another model than the one that answered: that one's loss would start at the distributions' entropy, its least.
    tiny.main(tmp_path / "student", seed=1)
    run = launch(
        [
            f"actor_rollout_ref.model.path={tmp_path / 'student'}",
            f"data.train_files=[{rl_rows},{tmp_path / 'self.parquet'}]",
            f"data.val_files={rl_rows}",
            f"recap.domains_file={tmp_path / 'domains.yaml'}",
            "recap.ntp.distribution=true",
            "recap.mixture={a:2,self:1}",
            "trainer.total_training_steps=3",
            "trainer.val_before_train=false",
        ],
        tmp_path / "run",
    )
    assert run.returncode == 0, run.end
    steps = [run.metrics[step] for step in (1, 2, 3)]
    assert [metrics["recap/share/self"] for metrics in steps] == [1 / 3] * 3
    soft = [metrics["actor/ntp_loss"] for metrics in steps]
    assert soft[2] < soft[1] < soft[0], soft
    # Two objectives: half of a cross-entropy against five tokens, which is not that of the tokens themselves.
    assert abs(soft[0] - steps[0]["recap/loss/self/ntp"] / 2) > 1e-4
