"""The one writer of parquet files: every data set, text or images, gets the same columns of the same types."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError, explain_os_error

_SIZE = pa.struct([(name, pa.int32()) for name in ("width", "height", "original_width", "original_height")])

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        # What verl opens as images. No Hugging Face Image feature: it would decode each row whenever it is touched,
        # and files with and without it cannot be concatenated.
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {
                "split": pa.string(),
                "index": pa.int64(),
                "question": pa.string(),
                "answer": pa.string(),
                "image_sizes": pa.list_(_SIZE),
                "metadata": pa.string(),
            }
        ),
    }
)
_PIXELS = "images.list.element.bytes"
_SIZES = [f"extra_info.image_sizes.list.element.{field.name}" for field in _SIZE]
_TEXTS = [
    "data_source",
    "prompt.list.element.role",
    "prompt.list.element.content",
    "images.list.element.path",
    "ability",
    "reward_model.style",
    "reward_model.ground_truth",
    *(f"extra_info.{name}" for name in ("split", "index", "question", "answer", "metadata")),
]
# A row group ends at whichever comes first; readers, verl's among them, hold a row group at a time.
ROWS_AT_ONCE = 1024
BYTES_AT_ONCE = 32 << 20


@contextlib.contextmanager
def atomic_file(path: Path, folder: Path | None = None) -> Iterator[BinaryIO]:
    """A file that appears at `path` whole, when the block ends, or not at all.

    Args:
        folder: where it lies until then, on the same file system; by default beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder or path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)  # mkstemp makes it private to one user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def parquet_writer(file: BinaryIO) -> pq.ParquetWriter:
    """Images are compressed already, and statistics of them or of prompts help nobody."""
    return pq.ParquetWriter(
        file,
        SCHEMA,
        compression={**dict.fromkeys([*_TEXTS, *_SIZES], "zstd"), _PIXELS: "none"},
        use_dictionary=_TEXTS,
        write_statistics=False,
    )


def write_parquet(rows: Iterable[dict], path: Path) -> int:
    """Write `rows` (see `make_row`) to `path`, and return how many there were.

    Equal rows give equal bytes. The file appears whole or not at all, and an interrupted write leaves an older file
    as it was. Memory is bounded by 1,024 rows or 32 MB of them.

    Raises:
        DataError: a row that does not fit the schema, no rows at all (verl fails on an empty file), no space left.
    """
    count = 0
    try:
        with atomic_file(path) as file:
            with parquet_writer(file) as writer:
                for batch in batched(rows):
                    writer.write_table(rows_table(batch, first=count))
                    count += len(batch)
            if not count:
                raise DataError(f"{path.name} would have no rows: raise the limit or name other tasks")
    except OSError as error:
        raise explain_os_error(error, f"writing {path}") from error
    return count


def batched(rows: Iterable, limit: int | None = None) -> Iterator[list]:
    """Rows in lists that hold at most `ROWS_AT_ONCE`, or `limit`, and end once they hold `BYTES_AT_ONCE`.

    Where a list ends depends on the rows alone, so equal rows give equal files however they are computed.
    """
    batch, size = [], 0
    most = min(limit or ROWS_AT_ONCE, ROWS_AT_ONCE)
    for row in rows:
        batch.append(row)
        size += byte_size(row)
        if len(batch) >= most or size >= BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def byte_size(value: object) -> int:
    """About the memory of a row's values."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(byte_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(byte_size, value))
    return 8


def rows_table(rows: list[dict], first: int = 0) -> pa.Table:
    """DataError for a row that does not fit the schema; rows are counted from `first` in its message."""
    for number, row in enumerate(rows, start=first):
        _check_keys(row, SCHEMA, f"row {number}")
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise DataError(f"rows {first} to {first + len(rows) - 1} do not fit the schema: {error}") from error


def _check_keys(value: dict, fields: pa.Schema | pa.StructType, where: str) -> None:
    """Arrow fills a missing key with null and drops a foreign one; both would be found only in training."""
    expected = {field.name: field.type for field in fields}
    if not isinstance(value, dict):
        raise DataError(f"{where} must have the keys {list(expected)}, but is {value!r}")
    if value.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - value.keys()), sorted(value.keys() - expected.keys())
        raise DataError(f"{where} must have the keys {list(expected)}: missing {missing}, unknown {unknown}")
    for key, kind in expected.items():
        if pa.types.is_struct(kind):
            _check_keys(value[key], kind, f"{where}, {key}")
