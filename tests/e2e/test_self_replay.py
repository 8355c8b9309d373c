"""The command with a real vLLM on a tiny model: what it stores, and that SIGKILL and a second run change nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from recap_verl.lab import tiny
from recap_verl.self_replay import read_provenance

pytestmark = pytest.mark.e2e

PROMPTS, SAMPLES, TOP_K = 40, 2, 4
OPTIONS = [
    f"--n={SAMPLES}",
    "--temperature=0.7",
    "--max-response-length=64",
    "--max-prompt-length=60",
    "--keep-cut",
    f"--top-k={TOP_K}",
    "--dtype=float32",
    "--batch-size=4",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The tiny model with louder layers: as it is, it repeats the prompt's last token for ever."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tiny.build_tokenizer()
    network = tiny.build_model(tokenizer)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "proj" in name:
                weight *= 4
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.parquet"
    texts = [f"say {i}" for i in range(PROMPTS)]
    texts[5] = "too long " * 10
    rows = [
        {
            "data_source": "toy/a" if i % 2 else "toy/b",
            "prompt": [{"role": "user", "content": text}],
            "ability": "toy",
            "reward_model": {"style": "rule", "ground_truth": json.dumps(str(i))},
            "extra_info": {"split": "train", "index": i},
        }
        for i, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def command(prompts, model):
    """A function from a file to write to the command line."""

    def build(out: Path, *options: str) -> list[str]:
        return [
            *(sys.executable, "-m", "recap_verl.self_replay", str(prompts), "--model", str(model), "--out", str(out)),
            *OPTIONS,
            *options,
        ]

    return build


@pytest.fixture(scope="module")
def straight(command, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The file of a run that nothing interrupted, and what the command said."""
    out = tmp_path_factory.mktemp("straight") / "self.parquet"
    done = subprocess.run(command(out), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done


def test_the_answers_and_what_the_command_says(straight, model):
    out, done = straight
    rows = pq.read_table(out).to_pylist()
    dropped = [json.loads(line) for line in out.with_suffix(".dropped.jsonl").read_text().splitlines()]
    assert {"index": 5, "sample": 0, "data_source": "toy/a", "reason": "prompt too long"} in dropped
    assert len(rows) + len(dropped) == (PROMPTS - 1) * SAMPLES + 1
    assert {row["data_source"] for row in rows} == {"self/toy/a", "self/toy/b"}
    tokens = sum(len(row["ntp_distribution"]["token_ids"]) for row in rows)
    assert f"kept: {len(rows)} rows, {tokens} tokens" in done.stdout
    snippet = out.with_suffix(".domains.yaml").read_text()
    assert done.stdout.endswith(snippet)
    assert yaml.safe_load(snippet)["self"]["data_sources"] == ["self/toy/a", "self/toy/b"]
    assert done.stderr.count("leaked") == 0
    found = read_provenance(out)
    assert (found["model"], found["temperature"], found["top_k"]) == (str(model), 0.7, TOP_K)


def test_the_stored_distributions_are_the_models_at_temperature_one(straight, model):
    tokenizer = tiny.build_tokenizer()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    endings = set()
    for row in pq.read_table(straight[0]).to_pylist():
        stored = row["ntp_distribution"]
        response = stored["token_ids"]
        prompt = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        with torch.no_grad():
            logits = network(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        top = logits.log_softmax(-1).topk(TOP_K)
        assert torch.allclose(torch.tensor(stored["topk_log_probs"]), top.values, atol=1e-3)
        assert stored["topk_ids"] == top.indices.tolist()

        ended = tokenizer.eos_token_id in response
        endings.add(ended)
        assert response.index(tokenizer.eos_token_id) == len(response) - 1 if ended else len(response) == 64
        text = json.loads(row["reward_model"]["ground_truth"])
        assert text == tokenizer.decode(response[:-1] if ended else response)
    assert endings == {True, False}, "both kinds of answers are meant to be tested"


def test_samples_differ_within_and_between_prompts(straight):
    rows = pq.read_table(straight[0]).to_pylist()
    texts = [row["reward_model"]["ground_truth"] for row in rows]
    assert len(set(texts)) == len(texts)
    firsts = [row["ntp_distribution"]["token_ids"][0] for row in rows]
    assert len(set(firsts)) > len(firsts) / 4, "neighbouring prompts must not share their noise"


def test_a_killed_run_goes_on_to_the_same_bytes(straight, command, tmp_path):
    out = tmp_path / "self.parquet"
    parts = tmp_path / "self.parquet.parts"
    with open(tmp_path / "log.txt", "w") as log:
        process = subprocess.Popen(command(out), stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    while not (parts / "part-000001.parquet").exists():
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("part-*.parquet")}
    assert 2 <= len(kept) < PROMPTS / 4

    refused = subprocess.run(command(out, "--seed=1"), capture_output=True, text=True, timeout=1200)
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("(seed): remove the folder or name another --out")
    assert {path: path.stat().st_mtime_ns for path in parts.glob("part-*.parquet")} == kept

    resumed = subprocess.run(command(out), capture_output=True, text=True, timeout=1200)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"{len(kept) * 4} of {PROMPTS} prompts were answered before" in resumed.stdout
    assert out.read_bytes() == straight[0].read_bytes()
    assert not parts.exists()


def test_the_same_command_again_keeps_the_file(straight, command):
    out, _ = straight
    before = out.stat().st_mtime_ns
    again = subprocess.run(command(out), capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "is kept" in again.stdout
    assert out.stat().st_mtime_ns == before
    other = subprocess.run(command(out, "--max-repetition=0.2"), capture_output=True, text=True, timeout=60)
    assert other.returncode == 2 and "was made with other settings (filters)" in other.stderr
