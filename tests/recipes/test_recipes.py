"""The recipes up to the command they start: real data, and a configuration that a run accepts."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import scripted_self_replay
from run_config import composed

from recap_verl.parts import build_domains
from recap_verl.verl_adapter.config import prepare_config

ROOT = Path(__file__).parents[2]
# Installs nothing, trains nothing and has no flash-attn; what prepares data is real.
PYTHON = f"""#!/usr/bin/env bash
case "$1 $2" in
  "-m data_prep") exec {sys.executable} "$@" ;;
  "-m recap_verl.self_replay") exec {sys.executable} {scripted_self_replay.__file__} "${{@:3}}" ;;
  "-m recap_verl.main_ppo") printf '%s\\n' "${{@:3}}" >"$OVERRIDES" ;;
  "-c "*) exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function from a recipe and its variables to the configuration of the run it starts, checked."""
    folder = tmp_path_factory.mktemp("recipes")
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")

    @cache
    def prepare(recipe: str, *arguments: str, **variables: str):
        paths = {"VENV": folder / "venv", "WORK": folder / "work", "MODEL_PATH": folder / "model"}
        own = {**paths, "OVERRIDES": folder / "overrides", "PYTHONPATH": ROOT, **variables}
        environment = os.environ | {name: str(value) for name, value in own.items()}
        command = ["bash", str(ROOT / "recipes" / recipe), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        config = composed("recap_trainer_cpu", *(folder / "overrides").read_text().splitlines())
        prepare_config(config)
        return config

    return prepare


def test_quickstart(prepared):
    config = prepared("quickstart.sh")
    domains = build_domains(config)
    assert list(domains) == ["last", "upper", "capitals"] and domains.targets == ("last",) and domains.sft == ()


def test_quickstart_with_self_replay(prepared):
    """A small share of the base model's own answers; the tasks of their prompts are validated and never trained on."""
    config = prepared("quickstart.sh", SELF_REPLAY="1")
    domains = build_domains(config)
    assert domains.sft == ("self",) and domains["self"].source == "self"
    assert not domains["repeat"].trained and not domains["larger"].trained
    assert config.recap.mixture == {"last": 1, "upper": 1, "capitals": 1, "self": 0.5}
    assert config.data.max_response_length == 16


def test_other_lengths_are_other_answers_of_the_base_model(prepared):
    """The command refuses to mix answers, and a recipe's user has no file to remove."""
    answers = {
        prepared("quickstart.sh", SELF_REPLAY="1", **sizes).data.train_files[1] for sizes in ({}, {"MAX_RESPONSE": "8"})
    }
    assert len(answers) == 2


def test_the_hybrid_recipe(prepared):
    config = prepared("run_hybrid_smollm2.sh", "trainer.nnodes=1")
    domains = build_domains(config)
    assert domains.sft == ("capitals",) and domains.targets == ("last",)
    assert domains["capitals"].reference_answer("Paris") == "<answer>Paris</answer>"
    # The answers that it generates in validation are judged as before.
    assert list(domains["capitals"].objectives) == ["exact_match", "answer_format"]
