"""`python -m data_prep`: the files it writes and the mistakes it explains."""

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from data_prep import CONVERTERS
from data_prep.__main__ import app
from recap_verl.domains import Domains


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def test_list_names_every_converter():
    output = invoke("list").output
    assert all(name in output for name in CONVERTERS)
    assert "default tasks: last,upper,capitals" in output


def test_quickstart_writes_every_split_and_domains_that_cover_it(tmp_path):
    result = invoke("quickstart", "--out", tmp_path, "--limit", 20, "--val-limit", 7)
    assert result.exit_code == 0, result.output
    domains = Domains(yaml.safe_load((tmp_path / "domains.yaml").read_text()))
    assert domains.targets == ("last",)
    for split, most in (("train", 20), ("val", 7), ("test", 7)):
        sources = pq.read_table(tmp_path / f"{split}.parquet")["data_source"].to_pylist()
        assert {source: sources.count(source) for source in sources} == dict.fromkeys(domains.data_sources, most)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    written = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        invoke("quickstart", "--out", tmp_path / folder, "--tasks", "larger", "--limit", 9, "--seed", seed)
        written.append((tmp_path / folder / "train.parquet").read_bytes())
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart", "--tasks", "lats"], "unknown text task 'lats'"),
        (["quickstart", "--limit", "0"], "--limit"),
        (["nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_one_message(tmp_path, arguments, message):
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.glob("out/*.parquet"))
