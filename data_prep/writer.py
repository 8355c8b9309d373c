"""The one writer of parquet files: every data set gets the same columns of the same types."""

import itertools
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {
                "split": pa.string(),
                "index": pa.int64(),
                "question": pa.string(),
                "answer": pa.string(),
                "metadata": pa.string(),
            }
        ),
    }
)
_ROWS_AT_ONCE = 4096


def write_parquet(rows: Iterable[dict], path: Path) -> int:
    """Write `rows` (see `make_row`) to `path`, and return how many there were.

    Equal rows give equal bytes. The file appears whole or not at all, and an interrupted write leaves an older file
    as it was. Memory is bounded by 4,096 rows.

    Raises ValueError for a row that does not fit the schema, and for no rows at all: verl fails on an empty file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            count = _write_rows(rows, file)
        if not count:
            raise ValueError(f"{path.name} would have no rows: raise the limit or name other tasks")
        os.chmod(temporary, 0o644)  # mkstemp makes it private to one user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return count


def _write_rows(rows: Iterable[dict], file) -> int:
    count = 0
    with pq.ParquetWriter(file, SCHEMA) as writer:
        remaining = iter(rows)
        while batch := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
            for number, row in enumerate(batch, start=count):
                _check_keys(row, SCHEMA, f"row {number}")
            try:
                table = pa.Table.from_pylist(batch, schema=SCHEMA)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ValueError(f"rows {count} to {count + len(batch) - 1} do not fit the schema: {error}") from error
            writer.write_table(table)
            count += len(batch)
    return count


def _check_keys(value: dict, fields: pa.Schema | pa.StructType, where: str) -> None:
    """Arrow fills a missing key with null and drops a foreign one; both would be found only in training."""
    expected = {field.name: field.type for field in fields}
    if value.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - value.keys()), sorted(value.keys() - expected.keys())
        raise ValueError(f"{where} must have the keys {list(expected)}: missing {missing}, unknown {unknown}")
    for key, kind in expected.items():
        if pa.types.is_struct(kind):
            _check_keys(value[key], kind, f"{where}, {key}")
