"""The parquet writer: one schema, whole files or none, equal bytes for equal rows."""

import datasets
import pyarrow.parquet as pq
import pytest

from data_prep.rows import make_row
from data_prep.writer import SCHEMA, write_parquet


def row(index=0, **changed):
    fields = {
        "data_source": "text/x",
        "prompt": [{"role": "user", "content": "say ü"}],
        "ability": "a",
        "answer": "ü",
        "question": "say ü",
        "split": "train",
        "index": index,
    }
    return make_row(**{**fields, **changed})


def test_rows_come_back_as_written(tmp_path):
    size = {"width": 1, "height": 2, "original_width": 3, "original_height": 4}
    rows = [row(0), row(1, metadata={"entry": [1, 2]}, images=[b"a", b"b"], image_sizes=[size, size])]
    assert write_parquet(rows, tmp_path / "new" / "train.parquet") == 2
    table = pq.read_table(tmp_path / "new" / "train.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == rows


def test_files_concatenate_as_verl_does_it(tmp_path):
    write_parquet([row()], tmp_path / "a.parquet")
    write_parquet([row(metadata={"x": 1})], tmp_path / "b.parquet")
    parts = [
        datasets.load_dataset("parquet", data_files=str(tmp_path / name), cache_dir=str(tmp_path / "cache"))["train"]
        for name in ("a.parquet", "b.parquet")
    ]
    joined = datasets.concatenate_datasets(parts)
    assert joined["reward_model"] == [{"style": "rule", "ground_truth": '"\\u00fc"'}] * 2
    assert joined[1]["prompt"] == [{"role": "user", "content": "say ü"}]


def test_many_rows_from_an_iterator_are_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        assert write_parquet((row(i) for i in range(5000)), tmp_path / name) == 5000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.read_table(tmp_path / "a")["extra_info"].combine_chunks().field("index").to_pylist() == list(range(5000))


def interrupted():
    yield row()
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "train.parquet"
    write_parquet([row()], path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_parquet(interrupted(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "train.parquet would have no rows"),
        ([row(), {**row(), "data_sauce": "x"}], r"row 1 must have the keys .*unknown \['data_sauce'\]"),
        ([{**row(), "reward_model": {"style": "rule"}}], r"row 0, reward_model .*missing \['ground_truth'\]"),
        ([row(index="first")], "rows 0 to 0 do not fit the schema"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_parquet(rows, tmp_path / "train.parquet")
    assert list(tmp_path.iterdir()) == []
