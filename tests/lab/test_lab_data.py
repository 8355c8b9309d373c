"""The drawn data: splits that share nothing, rows that verl and the objectives take."""

import json

import pytest
from typer.testing import CliRunner

from data_prep.__main__ import app
from recap_verl.domains import Domains
from recap_verl.lab.base.lessons import lessons
from recap_verl.lab.data import tables
from recap_verl.lab.data.__main__ import write
from recap_verl.lab.data.items import TRAIN, VAL, split_of
from recap_verl.lab.fast.scoring import score


@pytest.fixture(scope="module")
def items():
    return {name: list(make(0)) for name, make in (("train", tables.train_items), ("val", tables.val_items))}


def shown(item):
    return item.question, item.image.tobytes() if item.image is not None else None


def test_no_question_of_the_validation_is_trained_on(items):
    facts = (tables.FACTS, tables.UNSEEN_FACTS)
    val = {item.key for item in items["val"] if item.data_source not in facts}
    train = {item.key for item in [*items["train"], *tables.self_items(0)] if item.data_source not in facts}
    assert all(split_of(key) == VAL for key in val) and all(split_of(key) == TRAIN for key in train)
    assert not val & train and not {*map(shown, items["val"])} & {*map(shown, items["train"])}
    # Combinations are held out, not single pictures: both digits of a sum occur in training, but not together.
    assert {key.split()[0] for key in val} >= {"add", "subtract", "count", "ground", "handwriting", "print"}


def test_the_base_is_taught_no_question_of_the_validation_either(items):
    val = {item.key for item in items["val"] if not item.key.startswith("fact")}
    taught = [json.loads(row["extra_info"]["metadata"])["key"] for row, _ in zip(lessons(0), range(1500), strict=False)]
    assert not val & set(taught)
    facts = {item.key for item in tables.known_facts()}
    assert len(facts) == 240 and sum(key in facts for key in taught) > 50


def test_half_of_the_facts_are_never_self_replayed():
    prompts = {item.key for item in tables.self_items(0)}
    unseen = {item.key for item in tables.known_facts() if item.data_source == tables.UNSEEN_FACTS}
    seen = {item.key for item in tables.known_facts() if item.data_source == tables.FACTS}
    assert len(unseen) == len(seen) == 120 and not unseen & prompts and seen <= prompts


def test_what_the_base_is_to_write_scores_one(items):
    domains = Domains(tables.DOMAINS)
    assert {item.data_source for item in items["val"]} == set(domains.data_sources)
    for row in tables.rows(items["val"], "val"):
        scores = score(domains, row, tables.response_of(row))
        assert scores and set(scores.values()) == {1.0}, row["extra_info"]
        assert domains.of_data_source(row["data_source"]).trained == (row["ability"] in ("reason", "ground", "ocr"))


def test_the_same_seed_writes_the_same_bytes_and_the_checker_finds_nothing_but_likeness(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "TRAIN_ROWS", {name: rows // 12 for name, rows in tables.TRAIN_ROWS.items()})
    for name in ("a", "b"):
        write(tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == ["domains.yaml", "self_prompts.parquet", "train.parquet", "val.parquet"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    # Small pictures of a few shapes or digits resemble each other; that no two are the same is tested above.
    arguments = ["check", *(str(tmp_path / "a" / f"{name}.parquet") for name in ("train", "val"))]
    checked = CliRunner().invoke(app, [*arguments, "--allow", "overlap", "--allow", "image_overlap"])
    assert checked.exit_code == 0, checked.output
