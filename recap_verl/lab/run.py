"""One arm and seed of a study, with either engine, as rows of the results table."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from recap_verl.domains import Domains
from recap_verl.lab import verl_engine
from recap_verl.lab.arms import Arm, arm_domains, arm_mixture, find_arm, kl_factor, recap_section, variant
from recap_verl.lab.fast.engine import FastEngine
from recap_verl.lab.fast.policy import Policy
from recap_verl.lab.results import RUN, thinned
from recap_verl.lab.study import ENGINES, Study

SELF_SOURCE = "self/lab"


@dataclass(frozen=True)
class Laboratory:
    """What is trained and on what.

    Attributes:
        name: the results table's column `study`.
        model: folder of the base.
        data: folder with train.parquet, val.parquet, self_prompts.parquet and domains.yaml.
        load: a policy of the fast engine from a model folder.
        threads: of each process of verl's runs but the trainer's; None for as many as there are cores.
    """

    name: str
    model: Path
    data: Path
    load: Callable[[Path], Policy]
    threads: int | None = None

    @cached_property
    def base(self) -> str:
        """The results table's column `base`: a digest of the model's weights."""
        return _digest(self.model / "config.json", self.model / "model.safetensors")

    @property
    def self_replay(self) -> Path:
        """The base model's own answers, once they are written."""
        return self.data / f"self_replay-{self.base}.parquet"

    def base_scores(self, study: Study) -> Path:
        """verl's greedy validation of the base, once it is done: of answers of this length."""
        lengths = f"{study.max_prompt_length}-{study.max_response_length}"
        return self.data / f"verl_scores-{self.base}-{lengths}.json"

    def domains(self) -> dict[str, Any]:
        """The mapping of domains.yaml."""
        return OmegaConf.to_container(OmegaConf.load(self.data / "domains.yaml"))


@dataclass(frozen=True)
class Trial:
    """One run of the study: an arm with changed settings, and a seed.

    Attributes:
        arm: a name of `ARMS`.
        seed: of sampler and rollouts.
        changes: keys of the config section `recap`.
        options: fields of `Study` that differ from the study's own.
    """

    arm: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """How the table calls the changes; empty for the arm's own settings."""
        return variant(find_arm(self.arm), self.changes, self.options)


def write_self_replay(laboratory: Laboratory, study: Study) -> None:
    """Let the base model answer the prompts of skills that are not replayed, unless it has done so."""
    if laboratory.self_replay.exists():
        return
    command = [sys.executable, "-m", "recap_verl.self_replay", str(laboratory.data / "self_prompts.parquet")]
    options = {
        "--model": laboratory.model,
        "--out": laboratory.self_replay,
        "--data-source": SELF_SOURCE,
        "--max-prompt-length": study.max_prompt_length,
        "--max-response-length": study.max_response_length,
        "--dtype": "float32",
    }
    subprocess.run([*command, *(str(part) for pair in options.items() for part in pair)], check=True)


def run_trial(
    laboratory: Laboratory,
    trial: Trial,
    study: Study,
    engine: str,
    work: Path,
    progress: Callable[[int], None] = lambda step: None,
) -> list[dict]:
    """Rows of the results table, from step 0 to the last, training curves thinned.

    Args:
        engine: "fast" or "verl".
        work: folder for verl's runs, which go on from their last checkpoint.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but is {engine!r}")
    arm = find_arm(trial.arm)
    recap = recap_section(arm, trial.changes)
    mapping = arm_domains(arm, laboratory.domains(), SELF_SOURCE)
    domains = Domains(mapping, recap.weight_per)
    trained = [name for name, spec in domains.items() if spec.trained]
    recap.mixture = arm_mixture(arm, recap.mixture, trained)
    train_files = [laboratory.data / "train.parquet", *([laboratory.self_replay] if arm.self_replay else [])]
    if engine == "verl":
        found = verl_engine.train(
            laboratory.model,
            train_files,
            laboratory.data / "val.parquet",
            mapping,
            recap,
            study,
            trial.seed,
            kl_factor(arm),
            work / "runs" / run_name(laboratory, trial, study),
            laboratory.base_scores(study),
            laboratory.threads,
        )
    else:
        recap.domains = mapping
        found = _fast(laboratory, arm, domains, recap, train_files, study, trial.seed, progress)
    head = dict(zip(RUN, run_key(laboratory, trial, engine), strict=True))
    names = ("step", "data_source", "decoding", "metric", "value")
    return thinned([{**head, **dict(zip(names, record, strict=True))} for record in found])


def _fast(laboratory: Laboratory, arm: Arm, domains: Domains, recap, train_files, study: Study, seed: int, progress):
    kl = kl_factor(arm)
    rows = [row for file in train_files for row in pq.read_table(file).to_pylist()]
    engine = FastEngine(
        laboratory.load(laboratory.model),
        laboratory.load(laboratory.model) if kl else None,
        rows,
        pq.read_table(laboratory.data / "val.parquet").to_pylist(),
        domains,
        OmegaConf.create({"recap": recap}),
        study,
        seed,
        kl,
    )
    return list(engine.run(progress))


def run_key(laboratory: Laboratory, trial: Trial, engine: str) -> tuple[str, str, str, str, str, int]:
    """The columns `RUN` of the results table."""
    return engine, laboratory.name, laboratory.base, trial.arm, trial.variant, trial.seed


def run_name(laboratory: Laboratory, trial: Trial, study: Study) -> str:
    """A folder's name that other settings never share."""
    settings = json.dumps([laboratory.name, laboratory.base, dict(trial.changes), vars(study)], sort_keys=True)
    return f"{trial.arm}-{trial.seed}-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
