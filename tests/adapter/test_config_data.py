"""Data files that do not fit are named before Ray or a model starts."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from run_config import change, refusal, row, write_rows

from recap_verl.verl_adapter.config import prepare_config


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
