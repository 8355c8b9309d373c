"""Every reader of local files on a file of anything: rows, or one `DataError`; and the boxes and options of sources."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.boxes import from_xywh, xyxy
from data_prep.errors import DataError, Skip
from data_prep.options import parse_list
from data_prep.source.files import READERS, read_rows

FOLDER = tempfile.TemporaryDirectory()
_TABLE = pa.table({"text": ["one", "two"], "images": [[{"bytes": b"a", "path": None}], None]})


def reader_targets() -> list[tuple[str, Callable[[str], None]]]:
    """(what reads, function of a text)."""
    return [
        *((f"file {suffix}", _file_target(suffix, b"")) for suffix in READERS),
        *((f"damaged {suffix}", _file_target(suffix, sound)) for suffix, sound in _sound_files().items()),
        ("options", _value_target(parse_list)),
        ("box", _value_target(lambda text: xyxy(text.split(",")))),
        ("box and size", _value_target(lambda text: from_xywh(text.split(",")))),
    ]


def _sound_files() -> dict[str, bytes]:
    path = Path(FOLDER.name) / "sound"
    pq.write_table(_TABLE, path)
    files = {".parquet": path.read_bytes()}
    with pa.ipc.new_stream(path, _TABLE.schema) as writer:
        writer.write_table(_TABLE)
    return files | {".arrow": path.read_bytes()}


def _file_target(suffix: str, sound: bytes) -> Callable[[str], None]:
    path = Path(FOLDER.name) / f"x{suffix}"

    def read(text: str) -> None:
        data = _bytes_of(text)
        # The text's first two bytes say from where on it stands in place of a sound file's bytes.
        start = int.from_bytes(data[:2]) % len(sound) if sound else 0
        path.write_bytes(sound[:start] + data + sound[start + len(data) :])
        with suppress(DataError):
            for row in read_rows(path):
                assert isinstance(row, dict)

    return read


def _value_target(function: Callable[[str], object]) -> Callable[[str], None]:
    def run(text: str) -> None:
        # What the conversion counts as a skipped row.
        with suppress(Skip, ValueError):
            function(text)

    return run


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
