"""Readers of one local file: row after row, with a bounded part of the file in memory."""

import codecs
import csv
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError

# Rows may hold megabytes each.
_ROWS_AT_ONCE = 16
_TEXT_AT_ONCE = 1 << 20
# A parquet row group can be as large as the file: its columns are read in pieces of this size.
_BUFFER = 1 << 20
_BETWEEN_VALUES = re.compile(r"[ \t\r\n,]*")
_MIXED = "data_prep.cp1252"


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8, as Windows has them; an error handler of `codecs`."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252"), error.end


codecs.register_error(_MIXED, _as_cp1252)


def read_rows(file: Path, start: int = 0) -> Iterator[dict]:
    """The rows of a file; `start` may be other than 0 for parquet files, where it costs nothing.

    DataError for a file that is truncated or not of the kind its name says.
    """
    reader = READERS[file.suffix]
    number = start
    try:
        for row in reader(file, start) if file.suffix == ".parquet" else reader(file):
            if not isinstance(row, dict):
                raise DataError(f"{file} holds a {type(row).__name__} as row {number}: it must be a list of objects")
            yield row
            number += 1
    except DataError:
        raise
    # ValueError: no JSON, no UTF-8, or a number of thousands of digits; RecursionError: brackets in brackets.
    except (pa.ArrowException, OSError, ValueError, RecursionError, csv.Error) as error:
        raise _damaged(file, number, error) from error


def count_rows(file: Path) -> int | None:
    """From a parquet file's footer; None for other kinds, which would have to be read."""
    if file.suffix != ".parquet":
        return None
    try:
        return pq.read_metadata(file).num_rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, 0, error) from error


def _damaged(file: Path, number: int, error: Exception) -> DataError:
    first_line = str(error).partition("\n")[0]
    return DataError(
        f"{file} is damaged or truncated at row {number} ({type(error).__name__}: {first_line}): fetch it again"
    )


def _parquet(file: Path, start: int) -> Iterator[dict]:
    with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as parquet:
        groups = range(parquet.num_row_groups)
        for group in groups:
            if parquet.metadata.row_group(group).num_rows > start:
                break
            start -= parquet.metadata.row_group(group).num_rows
        batches = parquet.iter_batches(_ROWS_AT_ONCE, row_groups=list(groups[group:]), use_threads=False)
        yield from itertools.islice(_batch_rows(batches), start, None)


def _arrow(file: Path) -> Iterator[dict]:
    """Both of Arrow's formats: `datasets` writes streams."""
    with pa.memory_map(str(file)) as mapped:
        try:
            opened = pa.ipc.open_file(mapped)
            batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        except pa.ArrowInvalid:
            mapped.seek(0)
            batches = pa.ipc.open_stream(mapped)
        yield from _batch_rows(batches)


def _batch_rows(batches) -> Iterator[dict]:
    for batch in batches:
        # Offsets of a damaged file may point anywhere, and following them ends the process.
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield from batch.slice(start, _ROWS_AT_ONCE).to_pylist()


def _json_lines(file: Path, errors: str = "strict") -> Iterator[dict]:
    with open(file, encoding="utf-8", errors=errors) as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _json(file: Path) -> Iterator[dict]:
    """A list of objects, read piece by piece; or one object a line, which some data sets call .json too; or one
    object over many lines, for sources with a file to a row (some of ReasonSeg's are in cp1252)."""
    with open(file, "rb") as start:
        is_list = start.read(64).lstrip()[:1] == b"["
    if is_list:
        with open(file, encoding="utf-8") as text:
            yield from _json_list(text)
        return
    with open(file, encoding="utf-8", errors=_MIXED) as text:
        first = next((line for line in text if line.strip()), "")
        if first.strip() != "{":
            yield from _json_lines(file, _MIXED)
            return
        text.seek(0)
        yield json.load(text)


def _json_list(text) -> Iterator[dict]:
    decoder = json.JSONDecoder()
    buffer = text.read(_TEXT_AT_ONCE)
    position = buffer.index("[") + 1
    while True:
        position = _BETWEEN_VALUES.match(buffer, position).end()
        if buffer.startswith("]", position):
            return
        try:
            value, end = decoder.raw_decode(buffer, position)
            # A number at the buffer's end may go on behind it.
            if end == len(buffer):
                raise json.JSONDecodeError("unfinished", buffer, end)
        except json.JSONDecodeError:
            # Longer pieces each time, so that one huge value is not parsed from its start again and again.
            more = text.read(max(_TEXT_AT_ONCE, len(buffer)))
            if not more:
                raise
            buffer, position = buffer[position:] + more, 0
            continue
        yield value
        position = end


def _table_text(file: Path) -> Iterator[dict]:
    """Comma- or tab-separated values; all are texts, images in base64 among them."""
    csv.field_size_limit(sys.maxsize)
    with open(file, encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, dialect="excel-tab" if file.suffix == ".tsv" else "excel")


READERS = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _table_text,
    ".tsv": _table_text,
}
