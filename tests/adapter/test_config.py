"""What a good configuration becomes, before Ray or a model starts."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
import ray
from omegaconf import OmegaConf
from run_config import CONFIGS, DOMAINS, change, composed, refusal

import recap_verl
from recap_verl.parts import build_domains, build_mixture, build_scheduler
from recap_verl.verl_adapter.config import prepare_config

# What a run's own recipe says, whatever configuration it starts from.
OF_A_RUN = ("data.train_files", "data.val_files", "data.train_batch_size", "recap.domains", "algorithm.adv_estimator")


def test_a_good_configuration_is_completed(config):
    prepare_config(config)
    assert config.reward.reward_manager.name == "recap"
    assert not ray.is_initialized()
    prepare_config(config)  # and again, as it is


def test_the_cpu_configuration_composes_and_passes(config, pristine):
    cpu = composed("recap_trainer_cpu")
    assert cpu.trainer.device == "cpu" and cpu.actor_rollout_ref.actor.strategy == "fsdp2"
    assert cpu.recap.poll_interval < pristine.recap.poll_interval
    change(cpu, **{key: OmegaConf.select(config, key) for key in OF_A_RUN})
    change(cpu, **{"actor_rollout_ref.rollout.n": 4})
    prepare_config(cpu)
    assert cpu.reward.reward_manager.name == "recap"


def test_everything_but_the_section_recap_is_plain_verl(pristine):
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        verl = hydra.compose("ppo_trainer")
    ours = copy.deepcopy(pristine)
    OmegaConf.set_struct(ours, False)
    del ours["recap"]
    assert OmegaConf.to_container(ours) == OmegaConf.to_container(verl)


def test_domains_file_joins_the_domains_given(config, tmp_path):
    file = tmp_path / "domains.yaml"
    file.write_text("math: {role: target, data_sources: [toy/math], objectives: [accuracy]}\nocr: {role: general}\n")
    added = {"ocr": DOMAINS["ocr"], "quiz": DOMAINS["quiz"]}
    change(config, **{"recap.domains_file": str(file), "recap.domains": added})
    prepare_config(config)
    assert list(build_domains(config)) == ["math", "ocr", "quiz"]
    assert config.recap.domains_file is None, "workers on other machines do not have the file"


def test_domains_file_without_further_domains(config, tmp_path):
    file = tmp_path / "domains.yaml"
    file.write_text(json.dumps(DOMAINS))
    for none in ({}, None):
        change(config, **{"recap.domains_file": str(file), "recap.domains": none})
        prepare_config(config)
        assert list(build_domains(config)) == ["math", "ocr", "quiz"]


def test_options_of_objectives_arrive_as_plain_values(config):
    domains = copy.deepcopy(DOMAINS)
    domains["ocr"]["objectives"] = {"mine": {"fn": f"{__name__}:with_options", "words": ["a", "b"], "table": {"x": 1}}}
    change(config, **{"recap.domains": domains})
    options = build_domains(config)["ocr"].objectives["mine"].options
    assert type(options["words"]) is list and type(options["table"]) is dict


def with_options(response, ground_truth, extra_info, *, words=None, table=None):
    return 0.0


def test_target_only_trains_the_targets(config):
    change(config, **{"recap.mixture": "target_only"})
    assert build_mixture(config, build_domains(config)) == {"math": 1.0, "ocr": 0.0}
    prepare_config(config)


BASELINES = sorted(path.stem for path in Path(CONFIGS, "baseline").glob("*.yaml"))


def test_every_baseline_is_documented():
    page = Path(recap_verl.__path__[0]).parent / "docs" / "baselines.md"
    named = [line.split("`")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    assert sorted(named) == BASELINES


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_a_run_that_can_start(config, name):
    baseline = composed("recap_trainer", f"+baseline={name}")
    change(baseline, **{key: OmegaConf.select(config, key) for key in OF_A_RUN})
    change(baseline, **{"actor_rollout_ref.rollout.n": 4})
    prepare_config(baseline)
    assert (baseline.recap, baseline.actor_rollout_ref.actor) != (config.recap, config.actor_rollout_ref.actor)
    if name == "reasoning_only":
        assert build_mixture(baseline, build_domains(baseline)) == {"math": 1.0, "ocr": 0.0}
    if name == "lwf":
        assert baseline.actor_rollout_ref.actor.use_kl_loss and baseline.actor_rollout_ref.actor.kl_loss_coef == 0.01


def test_static_priors_reach_the_scheduler(config):
    domains = copy.deepcopy(DOMAINS)
    domains["ocr"]["objectives"] = {"exact_match": {"weight": 4.0}}
    change(config, **{"recap.domains": domains, "recap.scheduler.preset": "static"})
    assert build_scheduler(config, build_domains(config)).weights == {
        "accuracy": 0.5,
        "think_format": 0.5,
        "exact_match": 2.0,
    }


@pytest.mark.parametrize("content", ["[math, ocr]", "math: ["])
def test_a_domains_file_that_is_no_mapping(config, tmp_path, content):
    file = tmp_path / "domains.yaml"
    file.write_text(content)
    change(config, **{"recap.domains_file": str(file)})
    with pytest.raises(ValueError) as error:
        prepare_config(config)
    assert f"recap.domains_file: {file}" in str(error.value)


def test_a_domains_file_that_contradicts_the_domains_given(config, tmp_path):
    file = tmp_path / "domains.yaml"
    file.write_text("math: {role: target, data_sources: [toy/math], objectives: {accuracy: {timeout: 1.0}}}\n")
    change(config, **{"recap.domains_file": str(file)})
    with pytest.raises(ValueError) as error:
        prepare_config(config)
    assert f"recap.domains_file: {file} and recap.domains do not fit together" in str(error.value)


@pytest.mark.parametrize("name", ["grpo", "recap"])
def test_one_rollout_is_fine_without_groups(config, name):
    change(config, **{"actor_rollout_ref.rollout.n": 1, "algorithm.adv_estimator": name})
    assert "whose advantage is always 0" in refusal(config)
    for other in ("gae", "reinforce_plus_plus", "rloo"):
        change(config, **{"algorithm.adv_estimator": other})
        prepare_config(config)


def test_the_command_ends_with_one_line_and_status_2(config, tmp_path):
    arguments = [
        f"data.train_files={config.data.train_files}",
        f"data.val_files={config.data.val_files}",
        "+recap.domains.math={role: target, data_sources: [toy/math], objectives: [acuracy]}",
        f"hydra.run.dir={tmp_path}",
    ]
    command = [sys.executable, "-m", "recap_verl.main_ppo", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("INFO:")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("recap_verl: recap.domains.math.objectives.acuracy: unknown objective 'acuracy'")
