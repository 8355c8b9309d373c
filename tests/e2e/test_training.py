"""Training runs through verl's trainer and vLLM, and what they must leave behind."""

import math

import pytest

pytestmark = pytest.mark.e2e


def test_disabled_recap_is_plain_verl(launch, tmp_path, workspace):
    run = launch(
        [
            "recap.enable=false",
            "recap.domains_file=/nonexistent",
            "reward.custom_reward_function.path=pkg://toy_compute_score",
            "trainer.total_training_steps=2",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    assert sorted(run.metrics) == [1, 2]
    assert not [name for name in run.metrics[2] if "recap" in name]
    assert math.isfinite(run.metrics[2]["actor/grad_norm"])


def test_lost_rollouts_and_failing_objectives_are_survived_and_counted(launch, tmp_path):
    """Every fifth prompt is lost, so its step is filled up with padding rows; one objective fails on half its rows."""
    agents = tmp_path / "agents.yaml"
    agents.write_text("- name: flaky_agent\n  _target_: toy_agent.FlakyAgentLoop\n")
    run = launch(
        [
            "+recap.domains.c.objectives.faulty.fn='toy_objectives:faulty'",
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={agents}",
            "actor_rollout_ref.rollout.agent.default_agent_loop=flaky_agent",
            "trainer.total_training_steps=3",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    assert any(run.metrics[step]["recap/share/a"] != 1 / 3 for step in (1, 2, 3)), "no group was lost"
    assert sum(run.metrics[step]["recap/objective_errors"] for step in (1, 2, 3)) > 0
    values = [run.metrics[s]["recap/reward/c/faulty"] for s in (1, 2, 3) if "recap/reward/c/faulty" in run.metrics[s]]
    assert values and set(values) == {0.5}
    assert all(math.isfinite(run.metrics[step]["actor/grad_norm"]) for step in (1, 2, 3))
    assert "recap.domains.c, row" in run.log and "the row does not count for this objective" in run.log


def test_own_trainer_own_estimator_and_weights_per_domain(launch, tmp_path):
    run = launch(
        [
            "recap.trainer_class=toy_trainer:Mine",
            "recap.weight_per=domain_objective",
            "recap.mixture={a:3,b:2,c:1}",
            "algorithm.adv_estimator=rloo",
            "data.dataloader_num_workers=2",
            "trainer.total_training_steps=5",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    last = run.metrics[5]
    assert last["theirs/rows"] == 24
    keys = ("a/letters", "a/think_format", "b/letters", "b/answer_format", "c/accuracy")
    weights = [last[f"recap/weight/{key}"] for key in keys]
    assert math.isclose(sum(weights), 5, abs_tol=1e-9) and weights != [1.0] * 5
    assert [last[f"recap/share/{name}"] for name in "abc"] == [1 / 2, 1 / 3, 1 / 6]


def test_critic_and_two_data_parallel_ranks(launch, hybrid, tmp_path):
    run = launch(
        [
            hybrid,
            "algorithm.adv_estimator=gae",
            "critic.model.path=${actor_rollout_ref.model.path}",
            "critic.ppo_micro_batch_size_per_gpu=12",
            "critic.ppo_mini_batch_size=6",
            "trainer.n_gpus_per_node=2",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=12",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=12",
            "trainer.total_training_steps=2",
            "trainer.val_before_train=false",
        ],
        tmp_path,
    )
    assert run.returncode == 0, run.end
    assert math.isfinite(run.metrics[2]["critic/vf_loss"])
    objectives = ("letters", "think_format", "answer_format", "ntp")
    assert math.isclose(sum(run.metrics[2][f"recap/weight/{name}"] for name in objectives), 4, abs_tol=1e-9)
    assert run.metrics[2]["recap/loss/c/ntp"] < run.metrics[1]["recap/loss/c/ntp"]
