"""The recipes up to the command they start: real data, and a configuration that a run accepts."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import scripted_self_replay
import yaml
from run_config import composed, row, write_rows

from data_prep.dataset import all_datasets
from recap_verl.parts import build_domains
from recap_verl.verl_adapter.config import prepare_config

ROOT = Path(__file__).parents[2]
# Installs nothing, trains nothing and has no flash-attn; what prepares data is real.
PYTHON = f"""#!/usr/bin/env bash
case "$1 $2" in
  "-m data_prep") exec {sys.executable} "$@" ;;
  "-m recap_verl.self_replay") exec {sys.executable} {scripted_self_replay.__file__} "${{@:3}}" ;;
  "-m recap_verl.report") ;;
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
        paths = {name: folder / name.lower() for name in ("VENV", "WORK", "RUNS")} | {"MODEL_PATH": folder / "model"}
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


@pytest.mark.parametrize(
    ("setting", "baseline", "targets", "sft"),
    [("rlvr_only", "", ("sat",), ()), ("hybrid", "uniform", ("thinklite",), ("llava-ocr",))],
)
def test_a_setting_of_the_paper(prepared, tmp_path, setting, baseline, targets, sft):
    """Where the data are there already, converted by `python -m data_prep all`: a row of each takes their place."""
    data = {name: each for name, each in all_datasets().items() if setting in each.settings}
    domains = {name: each.domain(each.settings[setting]) for name, each in data.items()}
    (tmp_path / "domains.yaml").write_text(yaml.safe_dump(domains))
    for name, each in data.items():
        (tmp_path / name).mkdir()
        for split in each.settings[setting].splits:
            rows = [row(source, index) for index, source in enumerate(domains[name]["data_sources"])]
            write_rows(tmp_path / name / f"{split}.parquet", rows)
    config = prepared("run_paper_setting.sh", setting, "recap.seed=3", DATA=tmp_path, BASELINE=baseline, NNODES="2")
    found = build_domains(config)
    assert set(targets) <= set(found.targets) and found.sft == sft and config.recap.seed == 3
    assert len(config.data.train_files) == (4 if setting == "rlvr_only" else 3)
    assert all(not str(file).endswith("train.parquet") for file in config.data.val_files)
    assert config.recap.scheduler.preset == (baseline or "recap") and config.trainer.nnodes == 2
    assert (config.trainer.total_training_steps, config.data.max_response_length) == (
        (328, 256) if setting == "rlvr_only" else (500, 2048)
    )
