"""A run killed with SIGKILL and started again goes on as if nothing had happened."""

import json

import pytest

pytestmark = pytest.mark.e2e


def rows_of_step(run_dir, step: int) -> list[str]:
    """The distinct prompts that were trained on in a step."""
    lines = (run_dir / "rollouts" / f"{step}.jsonl").read_text().splitlines()
    return sorted({json.loads(line)["input"] for line in lines})


def state_of_step(run_dir, step: int) -> dict:
    return json.loads((run_dir / "checkpoints" / f"global_step_{step}" / "recap.json").read_text())


def test_a_killed_run_resumes_to_the_same_rows_and_the_same_state(launch, launch_and_kill, hybrid, tmp_path):
    def overrides(run_dir):
        return [
            hybrid,
            "trainer.total_training_steps=6",
            "trainer.save_freq=3",
            "trainer.val_before_train=false",
            f"trainer.rollout_data_dir={run_dir}/rollouts",
        ]

    straight = tmp_path / "straight"
    run = launch(overrides(straight), straight)
    assert run.returncode == 0, run.end

    killed = tmp_path / "killed"
    tracker = killed / "checkpoints" / "latest_checkpointed_iteration.txt"
    launch_and_kill(overrides(killed), killed, lambda: tracker.exists() and tracker.read_text() == "3")
    assert not (killed / "checkpoints" / "global_step_6").exists()
    saved = state_of_step(killed, 3)
    for dump in (killed / "rollouts").glob("[456].jsonl"):
        dump.unlink()

    run = launch(overrides(killed), killed)
    assert run.returncode == 0, run.end
    assert sorted(run.metrics) == [4, 5, 6]
    assert (killed / "metrics.1.jsonl").exists(), "the metrics of the killed run must be kept"
    for step in (4, 5, 6):
        assert rows_of_step(killed, step) == rows_of_step(straight, step)
    assert rows_of_step(killed, 4) != rows_of_step(killed, 5)

    # The scheduler went on from the very numbers it had saved: its windows of 2 keep the last four observations, so
    # after step 6 the oldest is that of step 3.
    before, after = saved["scheduler"]["series"], state_of_step(killed, 6)["scheduler"]["series"]
    assert {name: series["count"] for name, series in after.items()} == dict.fromkeys(before, 6)
    for name in before:
        assert after[name]["values"][0] == before[name]["values"][-1]
    digest = run.log.split("recap: restored the state of step 3, ")[1].split()[0]
    assert digest == sha_of(saved)


def sha_of(state: dict) -> str:
    from recap_verl.verl_adapter.trainer import _digest

    return _digest({key: state[key] for key in ("global_step", "scheduler", "baseline")})
