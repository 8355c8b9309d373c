"""A run's configuration for the tests, composed as hydra does it, and how it is changed and refused."""

from pathlib import Path

import hydra
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from omegaconf import OmegaConf

import recap_verl
from recap_verl.verl_adapter.config import prepare_config

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
