"""Check and complete a run's configuration in the driver, before Ray, a model or vLLM starts."""

import glob
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from recap_verl.advantage import LOSS_AGG_MODES
from recap_verl.domains import Domains
from recap_verl.parts import build_domains, build_mixture, build_sampler, build_scheduler
from recap_verl.verl_adapter import checkpoint, estimators
from recap_verl.verl_adapter.layering import load_trainer_class
from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION
from recap_verl.verl_adapter.reward_manager import MAIN

_NEEDED_COLUMNS = ("data_source", "prompt", "reward_model")


def prepare_config(config: DictConfig) -> None:
    """Resolve ``recap.domains_file``, select RECAP's reward manager and check everything that can be checked now.

    Raises:
        ValueError, OSError: one sentence that names the key, file or row and what to do about it.
    """
    if not config.trainer.use_v1:
        raise ValueError("trainer.use_v1 is false, but RECAP works in verl's v1 trainer: set trainer.use_v1=true")
    _merge_domains_file(config)
    domains = build_domains(config)
    scheduler = build_scheduler(config, domains)
    build_mixture(config, domains)
    _check_choices(config)
    _check_reward(config)
    _check_estimator(config, domains)
    _check_filter(config)
    _check_next_token(config, domains)
    load_trainer_class(config)
    _check_data(config, domains)
    checkpoint.check_resume(config, scheduler)


def _merge_domains_file(config: DictConfig) -> None:
    path = config.recap.domains_file
    if path is None:
        return
    try:
        from_file = OmegaConf.load(os.path.expanduser(path))
    except FileNotFoundError:
        raise ValueError(f"recap.domains_file: {path} does not exist") from None
    except Exception as error:
        raise ValueError(f"recap.domains_file: {path} is no readable YAML: {error}") from error
    if not isinstance(from_file, DictConfig):
        raise ValueError(f"recap.domains_file: {path} must be a mapping of domain names, as in docs/configuration.md")
    try:
        merged = OmegaConf.merge(from_file, config.recap.domains or {})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"recap.domains_file: {path} and recap.domains do not fit together ({error}): a list in one of them "
            f"cannot add to a mapping in the other"
        ) from error
    with open_dict(config):
        config.recap.domains = merged
        config.recap.domains_file = None


def _check_choices(config: DictConfig) -> None:
    recap = config.recap
    for key, known in {
        "weight_on": ("advantage", "reward"),
        "exhaust": ("reshuffle", "stop"),
        "resume": ("strict", "fresh"),
    }.items():
        if recap[key] not in known:
            raise ValueError(f"recap.{key} must be one of {', '.join(known)}, but is {recap[key]!r}")
    for key in ("enable", "objective_mean", "mixture_follows_weights"):
        if not isinstance(recap[key], bool):
            raise ValueError(f"recap.{key} must be true or false, but is {recap[key]!r}")
    workers = config.data.get("dataloader_num_workers", 0)
    if recap.mixture_follows_weights and workers:
        raise ValueError(
            f"recap.mixture_follows_weights draws each batch by the weights of the step before, but "
            f"data.dataloader_num_workers={workers} draw batches ahead: set it to 0"
        )
    if not isinstance(recap.poll_interval, int | float) or not 0 < recap.poll_interval <= 60:
        raise ValueError(f"recap.poll_interval must be 0 to 60 seconds, but is {recap.poll_interval!r}")
    if isinstance(recap.seed, bool) or not isinstance(recap.seed, int) or recap.seed < 0:
        raise ValueError(f"recap.seed must be a whole number >= 0, but is {recap.seed!r}")


def _check_reward(config: DictConfig) -> None:
    manager = config.reward.reward_manager
    if manager.name == "naive" and manager.source == "register":
        manager.name = "recap"
    if manager.name != "recap" or manager.source != "register":
        raise ValueError(
            f"reward.reward_manager.name={manager.name} (source={manager.source}) scores a response with one number, "
            f"but RECAP needs each objective by itself: set name=recap and source=register, and name your function in "
            f"recap.domains.<name>.objectives"
        )
    if config.reward.custom_reward_function.path is not None:
        raise ValueError(
            "reward.custom_reward_function.path is set, but RECAP scores with the objectives of recap.domains alone: "
            "unset it and name the function as fn: package.module:function in recap.domains.<name>.objectives"
        )
    if config.reward.reward_model.enable:
        raise ValueError(
            "reward.reward_model.enable=true scores in place of the objectives of recap.domains: set it to false and "
            "ask the model from an objective of your own"
        )


def _check_estimator(config: DictConfig, domains: Domains) -> None:
    estimators.check_estimator(config.algorithm.adv_estimator)
    n = config.actor_rollout_ref.rollout.n
    generated = any(spec.trained and not spec.is_sft for spec in domains.values())
    if generated and config.algorithm.adv_estimator in estimators.GROUP_NORMALIZED and n < 2:
        raise ValueError(
            f"actor_rollout_ref.rollout.n={n} leaves one response to a group, whose advantage is always 0: "
            f"set it to 2 or more, or choose an estimator without groups in algorithm.adv_estimator"
        )


def _check_filter(config: DictConfig) -> None:
    """verl's filter of groups stops the run at the first row that has no value under its metric's name."""
    groups = config.algorithm.get("filter_groups", None)
    known = ("reward", MAIN)
    if groups is not None and groups.enable and groups.metric not in known:
        raise ValueError(
            f"algorithm.filter_groups.metric={groups.metric} is not there in rows of every domain: choose one of "
            f"{', '.join(known)}"
        )


def _check_next_token(config: DictConfig, domains: Domains) -> None:
    """What domains of kind: sft ask of the rest of the configuration."""
    ntp, actor = config.recap.ntp, config.actor_rollout_ref.actor
    if ntp.loss_agg_mode is not None and ntp.loss_agg_mode not in LOSS_AGG_MODES:
        raise ValueError(
            f"recap.ntp.loss_agg_mode must be null or one of {', '.join(LOSS_AGG_MODES)}, but is {ntp.loss_agg_mode!r}"
        )
    if isinstance(ntp.kl, bool) or not isinstance(ntp.kl, int | float) or not 0 <= ntp.kl < float("inf"):
        raise ValueError(f"recap.ntp.kl must be a number >= 0, but is {ntp.kl!r}")
    if not isinstance(ntp.distribution, bool):
        raise ValueError(f"recap.ntp.distribution must be true or false, but is {ntp.distribution!r}")
    if not domains.sft:
        return
    where = f"recap.domains.{domains.sft[0]}.kind=sft"
    if ntp.kl and not actor.use_kl_loss:
        raise ValueError(
            f"recap.ntp.kl={ntp.kl} needs the reference policy: set actor_rollout_ref.actor.use_kl_loss=true (with "
            f"kl_loss_coef=0 if generated tokens are to have no KL term)"
        )
    distillation = config.get("distillation", None)
    if distillation is not None and distillation.enabled:
        raise ValueError(
            f"{where} and distillation.enabled=true both put a loss of their own beside the policy's: choose one"
        )
    if config.actor_rollout_ref.rollout.enable_rollout_routing_replay:
        raise ValueError(
            f"{where} generates nothing, so its rows have no experts that a rollout has chosen: set "
            f"actor_rollout_ref.rollout.enable_rollout_routing_replay=false"
        )
    own_temperature = config.actor_rollout_ref.rollout.temperature != 1
    fused = config.actor_rollout_ref.model.get("use_fused_kernels", False)
    if own_temperature and (fused or actor.strategy not in ("fsdp", "fsdp2")):
        raise ValueError(
            f"{where} scores reference tokens at temperature 1, and verl's fused kernels and Megatron know one "
            f"temperature for all rows: set actor_rollout_ref.rollout.temperature=1, or use FSDP without fused kernels"
        )
    parallel = actor.get("fsdp_config", {}).get("ulysses_sequence_parallel_size", 1) or 1
    if ntp.distribution and (fused or parallel > 1 or actor.strategy not in ("fsdp", "fsdp2")):
        raise ValueError(
            "recap.ntp.distribution=true needs whole logits, which fused kernels, sequence parallelism and Megatron do "
            "not show: set it to false, or use FSDP without them"
        )


def _check_data(config: DictConfig, domains: Domains) -> None:
    files = {key: _parquet_files(f"data.{key}", config.data[key]) for key in ("train_files", "val_files")}
    train, val = (_count_sources(f"data.{key}", paths) for key, paths in files.items())
    domains.check_data(train, val)
    for path in files["train_files"]:
        _check_reference_answers(path, domains)
    if domains.sft and config.recap.ntp.distribution:
        _check_distribution(files["train_files"])
    _check_mixture(config, domains, train)


def _check_mixture(config: DictConfig, domains: Domains, train: Mapping[str, int]) -> None:
    """Build the sampler on the counts alone, to find a mixture that does not fit the data."""
    batch, fetched = config.data.train_batch_size, config.data.get("gen_batch_size", None)
    if fetched and batch % fetched:
        raise ValueError(
            f"data.gen_batch_size={fetched} does not divide data.train_batch_size={batch}, so batches could not hold "
            f"their shares: leave it unset, or choose a divisor"
        )
    names = list(domains)
    codes = [names.index(domains.of_data_source(source).name) for source in train]
    column = pa.DictionaryArray.from_arrays(np.repeat(np.array(codes, np.int32), list(train.values())), names)
    try:
        build_sampler(config, domains, column, batch, config.recap.seed)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"recap.mixture, recap.exhaust and data.train_batch_size do not fit the rows of data.train_files: {error}"
        ) from error


def _parquet_files(key: str, files: Any) -> list[str]:
    """The paths that a config key names, its patterns expanded."""
    paths = []
    for file in list(files) if isinstance(files, ListConfig) else [files]:
        path = os.path.expanduser(str(file))
        if not path.endswith(".parquet"):
            raise ValueError(f"{key}: {file} is no .parquet file; convert it with python -m data_prep")
        if "://" in path:
            raise ValueError(f"{key}: {file} is remote; copy it to this machine first")
        paths += sorted(glob.glob(path)) or [path]
    return paths


def _count_sources(key: str, paths: list[str]) -> Counter[str]:
    """Data source -> rows over all parquet files of a config key."""
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(_sources_of(key, path))
    return counts


def _check_reference_answers(path: str, domains: Domains) -> None:
    """Read every answer that is to be learnt: a bad one would end the run at the step that draws it."""
    taught = {source for name in domains.sft for source in domains[name].data_sources}
    if not taught:
        return
    with pq.ParquetFile(path) as file:
        table = file.read(columns=["data_source", "reward_model.ground_truth"])
    sources = table["data_source"].to_pylist()
    rows = [row for row, source in enumerate(sources) if source in taught]
    truths = table["reward_model"].take(pa.array(rows, pa.int64())).to_pylist()
    for row, truth in zip(rows, truths, strict=True):
        try:
            domains.of_data_source(sources[row]).reference_answer(truth["ground_truth"])
        except ValueError as error:
            raise ValueError(f"data.train_files: {path}, row {row} has no answer to learn: {error}") from error


def _check_distribution(paths: list[str]) -> None:
    if not any(DISTRIBUTION in pq.read_schema(path).names for path in paths):
        raise ValueError(
            f"recap.ntp.distribution=true, but no file of data.train_files has a column {DISTRIBUTION!r}: write one "
            f"with python -m recap_verl.self_replay --top-k, or set it to false"
        )


def _sources_of(key: str, path: str) -> Counter[str]:
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(key, path, file.schema_arrow)
            # The ground truth stands for its parent: a row without a reward_model has none either.
            table = file.read(columns=["data_source", "reward_model.ground_truth"])
    except FileNotFoundError:
        raise ValueError(f"{key}: {path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{key}: {path} is no readable parquet file ({error}); write it anew") from error
    for column, meaning in (("data_source", "name the row's data source"), ("reward_model", "give its ground_truth")):
        if table[column].null_count:
            row = table[column].is_null().index(True).as_py()
            raise ValueError(f"{key}: {path}, row {row}: {column} is null; {meaning}")
    return Counter(table["data_source"].to_pylist())


def _check_columns(key: str, path: str, schema: pa.Schema) -> None:
    missing = [name for name in _NEEDED_COLUMNS if name not in schema.names]
    if missing:
        raise ValueError(
            f"{key}: {path} has no column {missing[0]!r} (it has {', '.join(schema.names)}); see docs/data.md for "
            f"the columns verl and RECAP need"
        )
    source = schema.field("data_source").type
    text = source.value_type if pa.types.is_dictionary(source) else source
    if not (pa.types.is_string(text) or pa.types.is_large_string(text)):
        raise ValueError(f"{key}: {path}: column 'data_source' must hold text, but is {source}; write names")
    reward_model = schema.field("reward_model").type
    if not pa.types.is_struct(reward_model) or reward_model.get_field_index("ground_truth") < 0:
        raise ValueError(
            f"{key}: {path}: column 'reward_model' has no field 'ground_truth' to score against; write the rows as "
            f"docs/data.md says"
        )
