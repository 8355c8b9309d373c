"""An arm of the study through verl and through the fast engine: the same numbers are logged."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recap_verl.lab.fast.text_policy import TextPolicy
from recap_verl.lab.results import append, finished
from recap_verl.lab.run import Laboratory, Trial, run_trial
from recap_verl.lab.study import Study

pytestmark = pytest.mark.e2e

DOMAINS = {
    "a": {"role": "target", "data_sources": ["toy/a"], "objectives": {"exact_match": {}, "think_format": {}}},
    "b": {"data_sources": ["toy/b"], "objectives": {"answer_format": {}}},
    "c": {"kind": "sft", "data_sources": ["toy/c"]},
    "d": {"role": "probe", "data_sources": ["toy/d"], "objectives": {"exact_match": {"tag": False}}},
}
STUDY = Study(
    steps=2, prompts=6, rollouts=2, learning_rate=1e-3, max_prompt_length=64, max_response_length=8, validate_every=2
)


def rows(sources: tuple[str, ...]) -> list[dict]:
    return [
        {
            "data_source": sources[index % len(sources)],
            "prompt": [{"role": "user", "content": f"say {index}"}],
            "reward_model": {"style": "rule", "ground_truth": json.dumps(str(index))},
            "extra_info": {"split": "train", "index": index},
        }
        for index in range(24)
    ]


def test_both_engines_log_the_same_of_an_arm(workspace, tmp_path):
    for name, sources in (("train", ("toy/a", "toy/b", "toy/c")), ("val", ("toy/a", "toy/b", "toy/c", "toy/d"))):
        pq.write_table(pa.Table.from_pylist(rows(sources)), tmp_path / f"{name}.parquet")
    (tmp_path / "domains.yaml").write_text(yaml.safe_dump(DOMAINS))
    laboratory = Laboratory("toy", Path(workspace.model), tmp_path, TextPolicy, threads=1)
    trial = Trial("recap", 3, {"scheduler": {"window": 2}})
    logged = {}
    for engine in ("fast", "verl"):
        found = run_trial(laboratory, trial, STUDY, engine, tmp_path / "work")
        append(tmp_path / "results.csv", found)
        logged[engine] = {
            (row["step"], row["data_source"], row["decoding"], row["metric"])
            for row in found
            # verl validates greedily, and tells of lengths and token accuracy in its own way.
            if row["decoding"] != "sampled" and row["metric"] not in ("response_length", "token_accuracy")
        }
        if engine == "verl":
            again = run_trial(laboratory, trial, STUDY, engine, tmp_path / "work")
            assert again == found, "a finished run is read, not run"
            assert len(json.loads(laboratory.base_scores(STUDY).read_text())) == sum(
                row["step"] == 0 and row["decoding"] == "greedy" for row in found
            )
    assert logged["fast"] == logged["verl"]
    assert len(finished(tmp_path / "results.csv")) == 2
    assert (2, "c", "train", "loss/ntp") in logged["verl"] and (0, "toy/d", "greedy", "exact_match") in logged["verl"]
