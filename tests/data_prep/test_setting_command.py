"""`python -m data_prep all`: whole settings of the paper, and what is said where a source is missing."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from data_prep.__main__ import app
from data_prep.dataset import SETTINGS, all_datasets
from recap_verl.domains import Domains

# What the paper's tables name: trained on, validated on.
PAPER = {
    "rlvr_only": (
        {"lisa", "geoqav", "sat", "scienceqa"},
        {"sat", "scienceqa", "mathvista", "chartqa", "infovqa", "mmmu"},
    ),
    "hybrid": (
        {"thinklite", "refcoco", "llava-ocr"},
        {
            *("lisa", "mmmu-pro", "ai2d", "mathvista", "mathvision", "mathverse", "mmbench", "vizwiz"),
            "ocrbench-v2",
        },
    ),
}
# Of the data sets that are found in several layouts, one with the splits of the setting.
LAYOUTS = {"sat": "images", "scienceqa": "original", "chartqa": "hugging_face_m4", "refcoco": "vlm_r1"}
LISA = {"rlvr_only": "authors_copy", "hybrid": "vlm_r1"}


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["all", *(str(argument) for argument in arguments)])


def uses_of(setting):
    return {name: each.settings[setting] for name, each in all_datasets().items() if setting in each.settings}


def files_of(setting):
    return [f"{name}/{split}.parquet" for name, use in uses_of(setting).items() for split in use.splits]


@pytest.fixture
def sources(make_source):
    """`sources(setting)` -> (place, folder of images or None) of each of its data sets."""

    def found(setting):
        layouts = {"geoqav": "authors_copy", "lisa": LISA[setting], **LAYOUTS}
        places = {}
        for name in uses_of(setting):
            folder, options = make_source(name.replace("-", "_"), layouts.get(name, "hub"))
            places[name] = (options.get("source", folder), options.get("images"))
        return places

    return found


def options_of(places):
    for name, (source, images) in places.items():
        yield from ("--source", f"{name}={source}")
        yield from ("--images", f"{name}={images}") if images else ()


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_those_of_the_paper(setting):
    trained, validated = PAPER[setting]
    splits = {name: use.splits for name, use in uses_of(setting).items()}
    assert {name for name, of_set in splits.items() if "train" in of_set} == trained
    assert {name for name, of_set in splits.items() if set(of_set) - {"train"}} == validated
    domains = Domains({name: all_datasets()[name].domain(use) for name, use in uses_of(setting).items()})
    assert {name for name in domains if domains[name].trained} == trained


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_whole_setting(setting, sources, tmp_path):
    result = invoke("--setting", setting, "--out", tmp_path, *options_of(sources(setting)))
    assert result.exit_code == 0, result.output
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.parquet")) == sorted(files_of(setting))
    listed = {
        kind: result.output.partition(f"data.{kind}_files='[")[2].partition("]'")[0].split(",")
        for kind in ("train", "val")
    }
    assert sorted(listed["train"] + listed["val"]) == sorted(str(tmp_path / file) for file in files_of(setting))
    # What a run checks of its files before it starts.
    counts = {
        kind: sum((Counter(pq.read_table(file)["data_source"].to_pylist()) for file in files), Counter())
        for kind, files in listed.items()
    }
    Domains(yaml.safe_load((tmp_path / "domains.yaml").read_text())).check_data(counts["train"], counts["val"])


def test_a_folder_of_sources_and_one_given_by_name(make_source, tmp_path, monkeypatch):
    chosen = {name: all_datasets()[name] for name in ("chartqa", "sat", "scienceqa")}
    monkeypatch.setattr("data_prep.commands.setting.all_datasets", lambda: chosen)
    (tmp_path / "sources").mkdir()
    for name in ("chartqa", "scienceqa"):
        (tmp_path / "sources" / name).symlink_to(make_source(name, LAYOUTS[name])[0])
    sat = ["--source", f"sat={make_source('sat', LAYOUTS['sat'])[0]}", "--limit", 1]
    result = invoke("--setting", "rlvr_only", "--out", tmp_path / "out", "--sources", tmp_path / "sources", *sat)
    assert result.exit_code == 0, result.output
    rows = {file.parent.name: pq.read_table(file).num_rows for file in (tmp_path / "out").rglob("*.parquet")}
    assert rows == {"chartqa": 1, "sat": 1, "scienceqa": 1}


class TestMissing:
    def test_is_named_and_the_others_go_on(self, sources, tmp_path):
        """A data set on no hub, a folder that is not there, a damaged file; then the same command, mended."""
        places, out = sources("hybrid"), tmp_path / "out"
        broken = tmp_path / "ocr" / "iiit5k" / "train-0.parquet"
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"PAR1")
        wrong = {**places, "vizwiz": (tmp_path / "nothing", None), "llava-ocr": (tmp_path / "ocr", None)}
        del wrong["refcoco"]
        result = invoke("--setting", "hybrid", "--out", out, *options_of(wrong))
        assert result.exit_code == 2
        told, *sentences = result.stderr.splitlines()
        assert told.startswith("data_prep: llava-ocr (train): ") and "lacks the configurations hme100k, iam" in told
        assert [line.split(": ")[1] for line in sentences[:-1]] == [
            "refcoco (train)",
            "vizwiz (val)",
            "llava-ocr (train)",
        ]
        assert "it is on no hub: give --source refcoco=FOLDER" in sentences[0]
        assert "nothing is no file, no folder and no hub id" in sentences[1]
        assert "train-0.parquet is damaged or truncated" in sentences[2]
        assert "3 of 12 files are missing: llava-ocr (train), refcoco (train), vizwiz (val)" in sentences[3]
        written = {str(file.relative_to(out)) for file in out.rglob("*.parquet")}
        assert written == {*files_of("hybrid")} - {
            "llava-ocr/train.parquet",
            "refcoco/train.parquet",
            "vizwiz/val.parquet",
        }
        domains = yaml.safe_load((out / "domains.yaml").read_text())
        assert {"llava-ocr", "refcoco", "vizwiz"} & set(domains) == set() and Domains(domains).targets == ("thinklite",)
        before = (out / "thinklite" / "train.parquet").stat().st_mtime_ns
        result = invoke("--setting", "hybrid", "--out", out, *options_of(places))
        assert result.exit_code == 0, result.output
        assert (out / "thinklite" / "train.parquet").stat().st_mtime_ns == before, "what was there is left alone"
        assert set(yaml.safe_load((out / "domains.yaml").read_text())) == set(uses_of("hybrid"))

    def test_a_domain_without_its_training_rows_is_left_out(self, make_source, tmp_path, monkeypatch):
        chosen = {name: all_datasets()[name] for name in ("sat", "scienceqa")}
        monkeypatch.setattr("data_prep.commands.setting.all_datasets", lambda: chosen)
        # This copy of SAT has its test alone.
        layouts = {"sat": "index", "scienceqa": "original"}
        places = {name: (make_source(name, layout)[0], None) for name, layout in layouts.items()}
        result = invoke("--setting", "rlvr_only", "--out", tmp_path, *options_of(places))
        assert result.exit_code == 2 and "1 of 4 files are missing: sat (train)" in result.stderr
        assert list(yaml.safe_load((tmp_path / "domains.yaml").read_text())) == ["scienceqa"]

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            (["--source", "refcoco"], "--source refcoco: write it as NAME=VALUE"),
            (["--source", "gsm8k=x"], "--source gsm8k=x: no data set 'gsm8k' is asked for, but ai2d, lisa"),
            (["--images", "=x"], "--images =x: no data set '' is asked for"),
        ],
    )
    def test_mistakes_are_one_sentence(self, tmp_path, option, message):
        result = invoke("--setting", "hybrid", "--out", tmp_path / "out", *option)
        assert result.exit_code == 2 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
