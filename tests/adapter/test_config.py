"""A bad setting ends in one line that names it, before Ray or a model starts."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import hydra
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from omegaconf import OmegaConf

import recap_verl
from recap_verl.verl_adapter import checkpoint
from recap_verl.verl_adapter.config import build_domains, build_mixture, build_scheduler, prepare_config

CONFIGS = str(Path(recap_verl.__path__[0], "config"))
DOMAINS = {
    "math": {"role": "target", "data_sources": ["toy/math"], "objectives": ["accuracy", "think_format"]},
    "ocr": {"data_sources": ["toy/ocr"], "objectives": {"exact_match": {}}},
    "quiz": {"role": "probe", "data_sources": ["toy/quiz"], "objectives": ["accuracy"]},
}


def composed(name: str, *overrides: str):
    with hydra.initialize_config_dir(CONFIGS, version_base=None):
        return hydra.compose(name, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


def row(source: str, index: int) -> dict:
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": f"say {index}"}],
        "reward_model": {"style": "rule", "ground_truth": str(index)},
    }


def write_rows(path: Path, rows: list[dict]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.fixture(scope="module")
def pristine():
    return composed("recap_trainer")


@pytest.fixture
def config(pristine, tmp_path):
    """A run that is ready to go: two trained domains of 6 rows each and a probe."""
    config = copy.deepcopy(pristine)
    train = [row(source, i) for i in range(6) for source in ("toy/math", "toy/ocr")]
    change(
        config,
        **{
            "data.train_files": write_rows(tmp_path / "train.parquet", train),
            "data.val_files": write_rows(tmp_path / "val.parquet", [row("toy/quiz", 0), row("toy/math", 1)]),
            "data.train_batch_size": 4,
            "actor_rollout_ref.rollout.n": 4,
            "trainer.default_local_dir": str(tmp_path / "checkpoints"),
            "recap.domains": DOMAINS,
            "algorithm.adv_estimator": "grpo",
        },
    )
    return config


def change(config, **settings):
    for key, value in settings.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)


def refusal(config) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises((ValueError, OSError)) as error:
        prepare_config(config)
    message = str(error.value)
    assert "\n" not in message and "Traceback" not in message
    assert not ray.is_initialized()
    return message


def test_a_good_configuration_is_completed(config):
    prepare_config(config)
    assert config.reward.reward_manager.name == "recap"
    assert not ray.is_initialized()
    prepare_config(config)  # and again, as it is


def test_the_cpu_configuration_composes_and_passes(config, pristine):
    cpu = composed("recap_trainer_cpu")
    assert cpu.trainer.device == "cpu" and cpu.actor_rollout_ref.actor.strategy == "fsdp2"
    assert cpu.recap.poll_interval < pristine.recap.poll_interval
    copied = {"data.train_files", "data.val_files", "data.train_batch_size", "recap.domains", "algorithm.adv_estimator"}
    change(cpu, **{key: OmegaConf.select(config, key) for key in copied})
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
    for key in ("data", "algorithm.adv_estimator", "trainer.default_local_dir", "recap.domains"):
        change(baseline, **{key: OmegaConf.select(config, key)})
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


REFUSED = {
    "legacy trainer": ({"trainer.use_v1": False}, "trainer.use_v1 is false", "set trainer.use_v1=true"),
    "no domains": ({"recap.domains": {}}, "recap.domains is empty", "name at least one"),
    "domains null": ({"recap.domains": None}, "recap.domains is empty", "name at least one"),
    "no objectives (K=0)": (
        {"recap.domains": {"math": {"role": "target", "objectives": []}}},
        "recap.domains.math.objectives is empty",
        "name at least one",
    ),
    "weight_per": ({"recap.weight_per": "row"}, "recap.weight_per must be one of", "domain_objective"),
    "window": ({"recap.scheduler.window": 1}, "recap.scheduler: window must be", "at least 2"),
    "temperature": ({"recap.scheduler.temperature": 0}, "recap.scheduler: temperature must be", "positive"),
    "temperature below 0": ({"recap.scheduler.temperature": -1.0}, "recap.scheduler: temperature must be", "positive"),
    "alpha": ({"recap.scheduler.alpha": 1.5}, "recap.scheduler: alpha must be", "between 0 and 1"),
    "c_max": ({"recap.scheduler.c_max": 1}, "recap.scheduler: c_max must be", "above 1"),
    "preset": ({"recap.scheduler.preset": "best"}, "recap.scheduler: preset must be one of", "recap, paper"),
    "unknown scheduler key": ({"recap.scheduler.windows": 3}, "recap.scheduler: ", "windows"),
    "mixture word": ({"recap.mixture": "unifrom"}, "recap.mixture: mixture must be", "uniform, proportional"),
    "mixture of a stranger": ({"recap.mixture": {"math": 1, "sat": 1}}, "recap.mixture names 'sat'", "recap.domains"),
    "mixture of a probe": ({"recap.mixture": {"math": 1, "quiz": 1}}, "recap.mixture names 'quiz'", "trained domain"),
    "mixture incomplete": ({"recap.mixture": {"math": 1}}, "recap.mixture", "no share to 'ocr' (6 rows); give it one"),
    "mixture negative": ({"recap.mixture": {"math": 1, "ocr": -1}}, "recap.mixture", "share of 'ocr' must be"),
    "mixture of zeros": ({"recap.mixture": {"math": 0, "ocr": 0}}, "recap.mixture", "at least one must be above 0"),
    "coreset of nothing": ({"recap.mixture": "coreset:0.01"}, "recap.mixture", "raise its fraction"),
    "coreset fraction": ({"recap.mixture": "coreset:much"}, "recap.mixture: mixture 'coreset:much'", "coreset:0.5"),
    "stop before a batch": (
        {"recap.exhaust": "stop", "data.train_batch_size": 16},
        "recap.exhaust and data.train_batch_size do not fit",
        "give it more rows or a smaller share",
    ),
    "batch of none": ({"data.train_batch_size": 0}, "data.train_batch_size", "batch_size must be 1 to"),
    "part of a batch at a time": (
        {"data.gen_batch_size": 3},
        "data.gen_batch_size=3 does not divide data.train_batch_size=4",
        "choose a divisor",
    ),
    "weight_on": ({"recap.weight_on": "loss"}, "recap.weight_on must be one of", "advantage, reward"),
    "exhaust": ({"recap.exhaust": "wrap"}, "recap.exhaust must be one of", "reshuffle, stop"),
    "resume": ({"recap.resume": "always"}, "recap.resume must be one of", "strict, fresh"),
    "resume mode": ({"trainer.resume_mode": "latest"}, "trainer.resume_mode must be", "auto, disable, resume_path"),
    "objective_mean": ({"recap.objective_mean": "yes"}, "recap.objective_mean must be", "true or false"),
    "poll interval": ({"recap.poll_interval": 0}, "recap.poll_interval must be", "0 to 60 seconds"),
    "seed": ({"recap.seed": -1}, "recap.seed must be", ">= 0"),
    "n = 1": ({"actor_rollout_ref.rollout.n": 1}, "actor_rollout_ref.rollout.n=1", "set it to 2 or more"),
    "remax": ({"algorithm.adv_estimator": "remax"}, "adv_estimator=remax needs reward_baselines", "use grpo, gae"),
    "otb": ({"algorithm.adv_estimator": "optimal_token_baseline"}, "needs old_log_probs, sum_pi_squared", "use grpo"),
    "gdpo": ({"algorithm.adv_estimator": "gdpo"}, "algorithm.adv_estimator=gdpo", "use grpo"),
    "no estimator": ({"algorithm.adv_estimator": "grop"}, "algorithm.adv_estimator: ", "grop"),
    "reward manager": ({"reward.reward_manager.name": "dapo"}, "reward.reward_manager.name=dapo", "set name=recap"),
    "imported reward manager": (
        {"reward.reward_manager.name": "recap", "reward.reward_manager.source": "importlib"},
        "source=importlib",
        "source=register",
    ),
    "reward function": (
        {"reward.custom_reward_function.path": "mine.py"},
        "reward.custom_reward_function.path is set",
        "fn: package.module:function",
    ),
    "reward model": ({"reward.reward_model.enable": True}, "reward.reward_model.enable=true", "set it to false"),
    "trainer class": (
        {"recap.trainer_class": "no_such_pkg:T"},
        "recap.trainer_class=no_such_pkg",
        "package.module:Class",
    ),
    "trainer class without name": ({"recap.trainer_class": "json"}, "recap.trainer_class=json", "package.module:Class"),
    "no trainer": ({"recap.trainer_class": "json:JSONDecoder"}, "is no subclass of", "PPOTrainer"),
    "no domains file": ({"recap.domains_file": "/no/such.yaml"}, "recap.domains_file: /no/such.yaml", "does not exist"),
    "remote file": ({"data.train_files": "s3://b/x.parquet"}, "data.train_files: s3://b/x.parquet", "copy it"),
    "json file": ({"data.val_files": "x.jsonl"}, "data.val_files: x.jsonl", "convert it"),
    "missing file": ({"data.train_files": ["/no/such.parquet"]}, "train_files: /no/such.parquet", "does not exist"),
    "no train files": ({"data.train_files": []}, "recap.domains.math has no rows", "data.train_files hold"),
}


@pytest.mark.parametrize(("settings", "key", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_setting_is_named_with_its_fix(config, settings, key, fix):
    change(config, **settings)
    message = refusal(config)
    assert key in message and fix in message


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


# ------------------------------------------------------------------ data files


@pytest.mark.parametrize("column", ["data_source", "prompt", "reward_model"])
def test_a_missing_column_is_named(config, tmp_path, column):
    rows = [{key: value for key, value in row("toy/math", i).items() if key != column} for i in range(3)]
    file = write_rows(tmp_path / "less.parquet", rows)
    change(config, **{"data.train_files": [config.data.train_files, file]})
    assert f"data.train_files: {file} has no column {column!r}" in refusal(config)


@pytest.mark.parametrize("reward_model", ["42", {"style": "rule"}])
def test_a_reward_model_without_ground_truth(config, tmp_path, reward_model):
    file = write_rows(tmp_path / "less.parquet", [{**row("toy/math", 0), "reward_model": reward_model}])
    change(config, **{"data.train_files": file})
    assert f"data.train_files: {file}: column 'reward_model' has no field 'ground_truth'" in refusal(config)


@pytest.mark.parametrize("column", ["data_source", "reward_model"])
def test_a_null_is_named_by_its_row(config, tmp_path, column):
    rows = [row("toy/math", i) for i in range(5)]
    rows[3][column] = None
    file = write_rows(tmp_path / "null.parquet", rows)
    change(config, **{"data.val_files": file})
    assert f"data.val_files: {file}, row 3: {column} is null; " in refusal(config)


def test_a_null_answer_is_the_objectives_business(config, tmp_path):
    rows = [row(source, i) for i in range(3) for source in ("toy/math", "toy/ocr")]
    rows[1]["reward_model"]["ground_truth"] = None
    change(config, **{"data.train_files": write_rows(tmp_path / "null.parquet", rows)})
    prepare_config(config)


def test_a_data_source_that_is_no_text(config, tmp_path):
    file = write_rows(tmp_path / "numbers.parquet", [{**row("", 0), "data_source": 7}])
    change(config, **{"data.train_files": file})
    assert f"data.train_files: {file}: column 'data_source' must hold text, but is int64" in refusal(config)


def test_data_sources_kept_as_a_dictionary(config, tmp_path):
    table = pq.read_table(config.data.train_files)
    table = table.set_column(0, "data_source", table["data_source"].dictionary_encode())
    pq.write_table(table, tmp_path / "encoded.parquet")
    change(config, **{"data.train_files": str(tmp_path / "encoded.parquet")})
    prepare_config(config)


@pytest.mark.parametrize("damage", ["empty", "truncated", "no parquet", "a folder"])
def test_an_unreadable_file_is_named(config, tmp_path, damage):
    file = tmp_path / "bad.parquet"
    whole = Path(config.data.train_files).read_bytes()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "no parquet": b"a,b\n1,2\n" * 9}[damage])
    change(config, **{"data.val_files": str(file)})
    message = refusal(config)
    assert f"data.val_files: {file} is no readable parquet file" in message and "write it anew" in message


def test_rows_without_a_domain_and_domains_without_rows(config, tmp_path):
    strangers = write_rows(tmp_path / "strangers.parquet", [row("toy/sat", 0)])
    change(config, **{"data.train_files": [config.data.train_files, strangers]})
    assert "data.train_files: 1 rows have data_source 'toy/sat'" in refusal(config)
    change(config, **{"data.train_files": write_rows(tmp_path / "math.parquet", [row("toy/math", 0)])})
    assert "recap.domains.ocr has no rows" in refusal(config)


def test_files_by_pattern_and_home_folder(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    change(config, **{"data.train_files": "~/tra*.parquet"})
    prepare_config(config)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(config):
    """The folder of a checkpoint that fits the configuration."""
    root = Path(config.trainer.default_local_dir)
    folder = root / "global_step_3"
    state = {"global_step": 3, "scheduler": build_scheduler(config, build_domains(config)).state_dict(), "baseline": {}}
    checkpoint.write_state(folder, state)
    torch.save({"_num_yielded": 3}, folder / "data.pt")
    (root / checkpoint.TRACKER).write_text("3")
    return folder


def test_a_checkpoint_that_fits(config, saved):
    prepare_config(config)


def test_a_checkpoint_named_with_a_closing_slash(config, saved):
    change(config, **{"trainer.resume_mode": "resume_path", "trainer.resume_from_path": f"{saved}/"})
    prepare_config(config)
    assert config.trainer.resume_from_path == str(saved), "verl would read int('3/')"


def test_a_checkpoint_of_plain_verl(config, saved):
    (saved / checkpoint.FILE).unlink()
    (saved / "data.pt").write_bytes(b"of a sampler we do not use")
    message = refusal(config)
    (saved / "data.pt").unlink()
    torch.save({}, saved / "data.pt")
    message = refusal(config)
    assert str(saved) in message and "recap.resume=fresh" in message
    change(config, **{"recap.resume": "fresh"})
    prepare_config(config)


def test_fresh_forgives_no_damage(config, saved):
    (saved / checkpoint.FILE).write_text("{")
    change(config, **{"recap.resume": "fresh"})
    assert f"{saved / checkpoint.FILE} cannot be read" in refusal(config)


def test_a_checkpoint_of_other_settings(config, saved):
    change(config, **{"recap.scheduler.window": 7})
    message = refusal(config)
    assert f"{saved / checkpoint.FILE} does not fit this run" in message and "window is 10 there but 7 here" in message


@pytest.mark.parametrize("damage", [b"", b"\x80\x04 nonsense", b"PK\x03\x04 half a zip"])
def test_a_loader_state_that_is_damaged(config, saved, damage):
    (saved / "data.pt").write_bytes(damage)
    with pytest.raises(ValueError) as error:
        prepare_config(config)
    assert f"{saved / 'data.pt'} cannot be read" in str(error.value)
    assert str(error.value).endswith("resume from another checkpoint")


def test_a_loader_state_that_is_missing(config, saved):
    (saved / "data.pt").unlink()
    assert f"{saved / 'data.pt'} cannot be read" in refusal(config)


def test_an_empty_tracker_file(config, saved):
    tracker = saved.parent / checkpoint.TRACKER
    tracker.write_text("")
    prepare_config(config)
    assert tracker.read_text() == "3"


# ----------------------------------------------------------------- the command


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
