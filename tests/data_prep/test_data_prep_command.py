"""`python -m data_prep`: the files it writes and the mistakes it explains."""

import os

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from data_prep.__main__ import app
from data_prep.commands.generate import GENERATED
from data_prep.dataset import all_datasets
from recap_verl.domains import Domains


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def test_list_names_every_converter():
    output = invoke("list").output
    assert all(f"{name}: " in output for name in [*GENERATED, *all_datasets()])
    assert "licence: GPL-3.0" in output
    assert "role: general; objectives: iou, answer_format; prompts: answer" in output
    assert "default tasks: last,upper,capitals" in output


def test_quickstart_writes_every_split_and_domains_that_cover_it(tmp_path):
    result = invoke("quickstart", "--out", tmp_path, "--limit", 20, "--val-limit", 7)
    assert result.exit_code == 0, result.output
    domains = Domains(yaml.safe_load((tmp_path / "domains.yaml").read_text()))
    assert domains.targets == ("last",)
    for split, most in (("train", 20), ("val", 7), ("test", 7)):
        sources = pq.read_table(tmp_path / f"{split}.parquet")["data_source"].to_pylist()
        assert {source: sources.count(source) for source in sources} == dict.fromkeys(domains.data_sources, most)


def test_the_checker_passes_what_the_quickstart_trains_on(tmp_path):
    assert invoke("quickstart", "--out", tmp_path).exit_code == 0
    files = [tmp_path / f"{split}.parquet" for split in ("train", "val", "test")]
    checked = invoke("check", *files)
    assert checked.exit_code == 0, checked.output


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


class TestConvert:
    def test_all_splits_and_the_domain(self, make_source, tmp_path):
        folder, _ = make_source("scienceqa", "original")
        result = invoke("scienceqa", "--source", folder, "--out", tmp_path)
        assert result.exit_code == 0, result.output
        assert f"{tmp_path}/train.parquet: 4 rows; left out 4 (" in result.output
        files = {file.name for file in tmp_path.iterdir() if not file.name.startswith(".")}
        assert files == {"train.parquet", "train.skipped.jsonl", "val.parquet", "test.parquet", "domains.yaml"}
        domain = yaml.safe_load((tmp_path / "domains.yaml").read_text())["scienceqa"]
        assert domain == {
            "role": "target",
            "data_sources": ["scienceqa"],
            "objectives": {"accuracy": {}, "think_format": {}},
        }

    def test_options_reach_the_rows(self, make_source, tmp_path):
        folder, _ = make_source("refcoco", "vlm_r1")
        options = ["--style", "think", "--role", "target", "--max-side", 32, "--limit", 2, "--num-proc", 1]
        source = ["--source", folder / "jsons", "--images", folder / "coco", "--split", "val"]
        result = invoke("refcoco", "--out", tmp_path, *source, *options)
        assert result.exit_code == 0, result.output
        rows = pq.read_table(tmp_path / "val.parquet").to_pylist()
        assert len(rows) == 2 and "<think>" in rows[0]["prompt"][0]["content"]
        assert rows[0]["extra_info"]["image_sizes"] == [
            {"width": 32, "height": 28, "original_width": 64, "original_height": 56}
        ]
        assert rows[0]["reward_model"]["ground_truth"] == "[1.5, 2, 10.5, 19]", "the box follows its image"
        assert rows[0]["extra_info"]["metadata"] == '{"orig_w": 32, "orig_h": 28}'
        domain = yaml.safe_load((tmp_path / "domains.yaml").read_text())["refcoco"]
        assert domain["role"] == "target" and list(domain["objectives"]) == ["iou", "think_format"]

    def test_configurations_that_are_not_there_are_named(self, make_source, tmp_path):
        folder, _ = make_source("mmmu_pro", "hub")
        only_pictures = tmp_path / "source"
        only_pictures.mkdir()
        (only_pictures / "vision").symlink_to(folder / "vision")
        result = invoke("mmmu-pro", "--source", only_pictures, "--out", tmp_path / "out")
        assert result.exit_code == 0
        assert result.stderr == (
            f"data_prep: {only_pictures} lacks the configurations standard (10 options): going on without\n"
        )
        assert invoke("mmmu-pro", "--source", folder, "--out", tmp_path / "all").stderr == ""

    def test_a_terminal_sees_progress(self, make_source, tmp_path, monkeypatch):
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        folder, _ = make_source("scienceqa", "original")
        result = invoke("scienceqa", "--source", folder, "--split", "train", "--out", tmp_path)
        assert "scienceqa train" in result.stderr and "8 rows," in result.stderr and "100%" not in result.stderr

    def test_no_space_for_the_domains_is_one_sentence(self, make_source, tmp_path, monkeypatch):
        folder, _ = make_source("gsm8k", "hub")
        options = ["gsm8k", "--source", folder, "--out", tmp_path, "--split", "test"]
        assert invoke(*options).exit_code == 0
        (tmp_path / "domains.yaml").write_text("of an earlier run")

        def on_a_full_disk(prefix, dir):
            path = dir / f"{prefix}x"
            path.touch()
            return os.open("/dev/full", os.O_WRONLY), str(path)

        monkeypatch.setattr("data_prep.writer.tempfile.mkstemp", on_a_full_disk)
        result = invoke(*options)
        assert result.exit_code == 2 and f"no space left while writing {tmp_path}/domains.yaml" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert (tmp_path / "domains.yaml").read_text() == "of an earlier run"

    def test_a_probe_is_not_converted_for_training_unasked(self, make_source, tmp_path):
        folder, _ = make_source("chartqa", "hugging_face_m4")
        assert invoke("chartqa", "--source", folder, "--out", tmp_path).exit_code == 0
        assert not (tmp_path / "train.parquet").exists() and (tmp_path / "val.parquet").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["scienceqa", "--source", "{folder}/data/nothing"], "is no file, no folder and no hub id"),
            (["scienceqa", "--source", "{folder}", "--split", "dev"], "scienceqa has no split 'dev'"),
            (
                ["sat", "--source", "{folder}", "--split", "train"],
                "sat needs a column 'image_bytes', which",
            ),
            (["refcoco"], "refcoco is on no hub: give its folder with --source"),
        ],
    )
    def test_mistakes_are_one_sentence(self, make_source, tmp_path, arguments, message):
        folder, _ = make_source("scienceqa", "original")
        result = invoke(*(argument.format(folder=folder) for argument in arguments), "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert result.stderr.startswith("data_prep: ") and message in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not list(tmp_path.glob("out/*.parquet"))
