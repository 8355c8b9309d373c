"""One sft domain, weight 1 and no RL rows: the loss curve of verl's own SFT trainer on the same rows."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import read_metrics

from recap_verl.lab import tiny

pytestmark = pytest.mark.e2e

STEPS = 10
OPTIMIZER = {"lr": 1e-3, "weight_decay": 0.01, "clip_grad": 1.0, "lr_scheduler_type": "constant", "betas": "[0.9,0.95]"}
ROWS = [(f"say {i}", "abc" * (1 + i)) for i in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The tiny model, with a template that ends with the end of turn: verl's SFT would learn what it puts behind."""
    folder = tmp_path_factory.mktemp("sft") / "model"
    tiny.main(folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>\n", "<|im_end|>"))
    return str(folder)


def test_ten_steps_follow_verls_sft_trainer(launch, environment, tmp_path, model, write_rows):
    rl_rows = write_rows(tmp_path / "rows.parquet", len(ROWS), ("s",), answer=lambda i: ROWS[i][1])
    (tmp_path / "domains.yaml").write_text("s: {role: target, kind: sft}\n")
    run = launch(
        [
            f"data.train_files={rl_rows}",
            f"data.val_files={rl_rows}",
            f"recap.domains_file={tmp_path / 'domains.yaml'}",
            "data.max_response_length=32",
            f"actor_rollout_ref.model.path={model}",
            "actor_rollout_ref.rollout.n=1",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
            *(f"actor_rollout_ref.actor.optim.{key}={value}" for key, value in OPTIMIZER.items()),
            f"trainer.total_training_steps={STEPS}",
            "trainer.val_before_train=false",
            "trainer.test_freq=-1",
        ],
        tmp_path / "recap",
    )
    assert run.returncode == 0, run.end
    ours = [run.metrics[step]["recap/loss/s/ntp"] for step in range(1, STEPS + 1)]
    verls = sft_losses(tmp_path / "sft", model, environment)
    assert ours[0] > 2 * ours[-1], ours
    assert ours == pytest.approx(verls, rel=1e-4)


def sft_losses(run_dir, model: str, environment) -> list[float]:
    """The training loss of each step of `verl.trainer.sft_trainer`."""
    run_dir.mkdir()
    messages = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
        for prompt, answer in ROWS
    ]
    pq.write_table(pa.Table.from_pylist(messages), run_dir / "rows.parquet")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"),
        *("-m", "verl.trainer.sft_trainer"),
        f"data.train_files={run_dir / 'rows.parquet'}",
        f"data.train_batch_size={len(ROWS)}",
        "data.micro_batch_size_per_gpu=2",
        "data.use_dynamic_bsz=false",
        "data.max_length=128",
        "data.num_workers=0",
        f"model.path={model}",
        "model.use_remove_padding=false",
        "+model.override_config.attn_implementation=sdpa",
        "engine.strategy=fsdp2",
        "engine.use_torch_compile=false",
        "+engine.mixed_precision={param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}",
        *(f"optim.{key}={value}" for key, value in OPTIMIZER.items()),
        "trainer.device=cpu",
        "trainer.logger=[file]",
        f"trainer.total_epochs={STEPS}",
        f"trainer.total_training_steps={STEPS}",
        f"trainer.default_local_dir={run_dir / 'checkpoints'}",
    ]
    run = subprocess.run(command, env=environment(run_dir), cwd=run_dir, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-6000:]
    metrics = read_metrics(run_dir)
    (run_dir / "losses.json").write_text(json.dumps(metrics))
    return [metrics[step]["train/loss"] for step in range(1, STEPS + 1)]
