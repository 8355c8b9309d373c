"""verl's two asynchronous trainer modes, where rollouts run ahead of the updates that use them.

One of the three domains is of next-token loss, whose rows are finished as soon as they are asked for.
"""

import json
import math

import pytest

pytestmark = pytest.mark.e2e

OBJECTIVES = ("letters", "think_format", "answer_format", "ntp")
SOURCES = ("toy/a", "toy/b", "toy/c")


def overrides_of(run_dir, mode: str) -> list[str]:
    return [
        f"trainer.v1.trainer_mode={mode}",
        "trainer.total_training_steps=3",
        "trainer.save_freq=2",
        "trainer.test_freq=3",
        f"trainer.rollout_data_dir={run_dir}/rollouts",
    ]


def check_metrics(run) -> None:
    """Weights, shares and retention of a run of three steps."""
    assert run.returncode == 0, run.end
    assert sorted(run.metrics) == [0, 1, 2, 3]
    for step in (1, 2, 3):
        metrics = run.metrics[step]
        weights = [metrics[f"recap/weight/{name}"] for name in OBJECTIVES]
        assert math.isclose(sum(weights), len(OBJECTIVES), abs_tol=1e-9)
        # Prompts are trained on in the order they finish, so a step's shares vary around the mixture's.
        assert math.isclose(sum(metrics[f"recap/share/{name}"] for name in "abc"), 1.0, abs_tol=1e-9)
        assert metrics["recap/objective_errors"] == 0
        assert math.isfinite(metrics["actor/grad_norm"])
        if "recap/loss/c/ntp" in metrics:
            assert 0 < metrics["recap/loss/c/ntp"] < 8 and 0 <= metrics["recap/token_accuracy/c"] <= 1
    assert any("recap/loss/c/ntp" in run.metrics[step] for step in (1, 2, 3))
    for source in SOURCES:
        score = f"val-core/{source}/acc/mean@1"
        assert run.metrics[0][f"recap/retention/{source}"] == 0
        assert run.metrics[3][f"recap/retention/{source}"] == run.metrics[3][score] - run.metrics[0][score]


def prompts_of_step(run_dir, step: int) -> set[str]:
    """The prompts that were trained on in a step; every prompt of the data is different, and padding rows have none."""
    lines = (run_dir / "rollouts" / f"{step}.jsonl").read_text().splitlines()
    return {json.loads(line)["input"] for line in lines} - {""}


def test_colocate_async_trains_and_resumes_with_the_prompts_in_flight(launch, hybrid, tmp_path):
    run = launch([*overrides_of(tmp_path, "colocate_async"), hybrid], tmp_path)
    check_metrics(run)

    checkpoint = tmp_path / "checkpoints" / "global_step_2"
    resumed = launch(
        [
            *overrides_of(tmp_path, "colocate_async"),
            hybrid,
            "trainer.resume_mode=resume_path",
            f"trainer.resume_from_path={checkpoint}",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert resumed.returncode == 0, resumed.end
    assert sorted(resumed.metrics) == [3]
    # One batch is drawn ahead of the updates.
    assert "Restored 6 training prompt groups" in resumed.log
    digest = run.log.split("recap: saved the state of step 2, ")[1].split()[0]
    assert f"recap: restored the state of step 2, {digest}" in resumed.log
    # The baseline of retention is that of the first start.
    for source in SOURCES:
        score = f"val-core/{source}/acc/mean@1"
        before = run.metrics[0][score]
        assert resumed.metrics[3][f"recap/retention/{source}"] == resumed.metrics[3][score] - before
    steps = [prompts_of_step(tmp_path, step) for step in (1, 2, 3)]
    assert [len(prompts) for prompts in steps] == [6, 6, 6]
    assert len(set.union(*steps)) == 18, "a prompt was trained on twice"


def test_separate_async_sends_weights_over_gloo(launch, hybrid, tmp_path):
    checkpoint_engine = "actor_rollout_ref.rollout.checkpoint_engine"
    run = launch(
        [
            *overrides_of(tmp_path, "separate_async"),
            hybrid,
            "trainer.v1.separate_async.parameter_sync_step=2",
            # Nothing generated ahead: all rollouts come from the weights just sent.
            "trainer.v1.separate_async.num_warmup_batches=0",
            "actor_rollout_ref.actor.ppo_mini_batch_size=3",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=12",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=12",
            "actor_rollout_ref.rollout.nnodes=1",
            "actor_rollout_ref.rollout.n_gpus_per_node=1",
            "ray_kwargs.ray_init.num_gpus=2",
            f"{checkpoint_engine}.backend=gloo",
            f"{checkpoint_engine}.custom_backend_module=recap_verl.verl_adapter.cpu.checkpoint_engine",
        ],
        tmp_path,
    )
    check_metrics(run)
    steps = [prompts_of_step(tmp_path, step) for step in (1, 2, 3)]
    assert [len(prompts) for prompts in steps] == [6, 6, 6]
    assert len(set.union(*steps)) == 18
    for step in (1, 2, 3):
        metrics = run.metrics[step]
        assert metrics["training/off_policy/trajectory_staleness/max"] == 0
        # The trainer and vLLM agree on the probability of every sampled token: the weights arrived, and the second
        # update went back to them for its old log-probabilities.
        assert metrics["training/rollout_probs_diff_max"] < 1e-3
        for name in "abc":
            assert math.isclose(metrics[f"recap/share/{name}"], 1 / 3)
    state = json.loads((tmp_path / "checkpoints" / "global_step_3" / "recap.json").read_text())
    # Two updates a step, each observed: of three prompts, at most two are of the one domain without letters.
    assert state["scheduler"]["series"]["letters"]["count"] == 6
