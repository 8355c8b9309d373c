"""The command line's refusals: one sentence each, status 2, before vLLM starts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from recap_verl.self_replay import settings
from recap_verl.self_replay.__main__ import app


@pytest.fixture
def refusal(write_prompts, text_model, tmp_path):
    """`refusal("--n", "0", prompts=..., model=..., out=...)` -> the sentence."""

    def run(*options, prompts=None, model=None, out=None) -> str:
        prompts, model, out = prompts or write_prompts(), model or text_model, out or tmp_path / "out" / "self.parquet"
        result = CliRunner().invoke(app, [str(prompts), "--model", str(model), "--out", str(out), *options])
        assert result.exit_code == 2, result.output
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("recap_verl.self_replay: ")]
        return line.removeprefix("recap_verl.self_replay: ")

    return run


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--n", "0"], "--n must be at least 1, but is 0"),
        (["--n", "2"], "--n 2 at --temperature 0 gives 2 equal answers: set a temperature"),
        (["--temperature", "-1"], "--temperature must be a number of at least 0, but is -1.0"),
        (["--temperature", "nan"], "--temperature must be a number of at least 0, but is nan"),
        (["--max-prompt-length", "0"], "--max-prompt-length must be at least 1, but is 0"),
        (["--max-response-length", "0"], "--max-response-length must be at least 1, but is 0"),
        (["--min-tokens", "0"], "--min-tokens must be at least 1, but is 0"),
        (["--max-repetition", "1.5"], "--max-repetition must be from 0 to 1, but is 1.5"),
        (["--top-k", "-1"], "--top-k must be at least 0, but is -1"),
        (["--seed", "-1"], "--seed must be at least 0, but is -1"),
        (["--seed", "4294967296"], "--seed must be below 2^32, but is 4294967296"),
        (["--batch-size", "0"], "--batch-size must be at least 1, but is 0"),
        (["--dtype", "int8"], "--dtype must be one of auto, bfloat16, float16, float32, but is 'int8'"),
        (["--data-source", " "], "--data-source must not be empty: name one, or leave the option out"),
        (["--chat-template-kwargs", "[1]"], "--chat-template-kwargs must be a JSON object, but is '[1]'"),
        (["--tensor-parallel-size", "0"], "--tensor-parallel-size must be at least 1, but is 0"),
        (["--gpu-memory-utilization", "2"], "--gpu-memory-utilization must be in (0, 1], but is 2.0"),
    ],
)
def test_bad_options(refusal, options, sentence):
    assert refusal(*options) == sentence


def test_json_that_is_none(refusal):
    assert refusal("--mm-processor-kwargs", "{1}").startswith("--mm-processor-kwargs must be a JSON object, but is")


def test_bad_prompt_files(refusal, write_prompts, make_row, tmp_path):
    assert refusal(prompts=tmp_path / "none.parquet").startswith(f"there is no file {tmp_path / 'none.parquet'}")
    (tmp_path / "text.parquet").write_text("text")
    assert "text.parquet cannot be read as parquet" in refusal(prompts=tmp_path / "text.parquet")
    assert refusal(prompts=write_prompts([{"a": 1}], "a.parquet")).endswith("has no column 'prompt', only a")
    assert "must be a list of {role, content}" in refusal(prompts=write_prompts([{"prompt": "say"}], "b.parquet"))
    answered = write_prompts([make_row(0, ntp_distribution=[1])], "c.parquet")
    assert "it holds answers already" in refusal(prompts=answered)
    pq.write_table(pa.Table.from_pylist([make_row(0)]).slice(0, 0), tmp_path / "empty.parquet")
    assert refusal(prompts=tmp_path / "empty.parquet").endswith("has no rows")


@pytest.mark.parametrize("prompt", [None, [], [{"role": "user", "content": None}], [{"role": "user", "content": " "}]])
def test_an_empty_prompt_names_its_row(refusal, write_prompts, make_row, prompt):
    prompts = write_prompts([make_row(0), make_row(1), make_row(2, prompt=prompt)])
    assert refusal(prompts=prompts).endswith("the prompt in row 2 is empty")


def test_bad_models(refusal, tmp_path):
    assert "is no folder" in refusal(model=tmp_path / "none")
    (tmp_path / "bare").mkdir()
    assert refusal(model=tmp_path / "bare").endswith("is no model folder: it has no config.json")
    (tmp_path / "bare" / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert "bare cannot be loaded (" in refusal(model=tmp_path / "bare")


def test_a_context_that_is_too_short(refusal):
    sentence = refusal("--max-prompt-length", "2000", "--max-response-length", "100")
    assert "add up to 2100, but" in sentence and "takes 2048 tokens: lower one of them" in sentence
    assert refusal("--top-k", "260") == "--top-k must be at most 259, the tokens that the model knows"


def test_an_out_that_cannot_be_written(refusal, tmp_path):
    (tmp_path / "file").write_text("")
    assert refusal(out=tmp_path / "file" / "self.parquet").startswith(f"cannot write to {tmp_path / 'file'}")


def test_without_vllm(refusal, monkeypatch):
    def nothing_is_installed(distribution):
        raise settings.importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(settings.importlib.metadata, "version", nothing_is_installed)
    assert refusal().startswith("vLLM is not installed")
