"""A shard: some rows of the source, converted, in a file of its own; what one process does at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_prep.boxes import from_unit, scaled_boxes
from data_prep.dataset import Dataset, Example, MissingColumn, SourceRow
from data_prep.errors import DataError, Skip
from data_prep.images import read_image, store_image
from data_prep.prompts import user_turn
from data_prep.rows import MARK, make_row
from data_prep.writer import SCHEMA, atomic_file, rows_table

_SOURCE_ROW = "source_row"
_NOTES = b"data_prep"
_OTHER_MARKS = ("<video>", "<audio>")


@dataclass(frozen=True)
class Job:
    """How the rows of one split are converted; the same for all its shards.

    Attributes:
        folders: that paths of images are relative to.
        parts: the folder of the shards.
    """

    dataset: Dataset
    split: str
    style: str
    max_side: int | None
    folders: tuple[Path, ...]
    parts: Path

    def shard(self, number: int) -> Path:
        return self.parts / f"{number:06d}.arrow"


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        source_rows: how many rows of the source it covers.
        rows: how many came out.
        skipped: one entry for each row that did not: `{"source_row", "reason", "detail"}`.
    """

    path: Path
    source_rows: int
    rows: int
    skipped: list[dict]

    @classmethod
    def read(cls, path: Path) -> "Shard | None":
        """None where there is no whole shard (a power failure can leave an empty file)."""
        try:
            with pa.memory_map(str(path)) as mapped:
                notes = json.loads(pa.ipc.open_file(mapped).schema.metadata[_NOTES])
        except (FileNotFoundError, pa.ArrowInvalid):
            return None
        return cls(path, **notes)

    def table(self, first_index: int, most: int) -> tuple[pa.Table, int]:
        """At most `most` rows, indexed from `first_index`, and the source row of the last one."""
        with pa.memory_map(str(self.path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all().slice(0, most)
        sources = table[_SOURCE_ROW]
        table = table.drop_columns([_SOURCE_ROW]).replace_schema_metadata(None)
        return _indexed(table, first_index), sources[-1].as_py() if len(sources) else -1


def convert_shard(job: Job, number: int, first: int, rows: list[SourceRow]) -> tuple[int, int, int]:
    """Convert the source rows `first`, `first + 1`, … into the job's shard `number`.

    Returns:
        (number, rows of the source, rows that came out).
    """
    converted, source_rows, skipped = [], [], []
    for source_row, row in enumerate(rows, start=first):
        for result in _results(job, row, source_row):
            if isinstance(result, Skip):
                skipped.append({"source_row": source_row, "reason": result.reason, "detail": result.detail})
            else:
                converted.append(result)
                source_rows.append(source_row)
    table = rows_table(converted).append_column(_SOURCE_ROW, pa.array(source_rows, pa.int64()))
    notes = json.dumps({"source_rows": len(rows), "rows": len(converted), "skipped": skipped})
    table = table.replace_schema_metadata({_NOTES: notes})
    with atomic_file(job.shard(number)) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return number, len(rows), len(converted)


def _results(job: Job, row: SourceRow, source_row: int) -> Iterator[dict | Skip]:
    """verl rows and skips of one source row."""
    try:
        results = job.dataset.convert(row)
        for result in [results] if isinstance(results, Example | Skip) else results:
            yield result if isinstance(result, Skip) else _verl_row(job, result)
    except Skip as skip:
        yield skip
    except MissingColumn as error:
        raise DataError(
            f"{job.dataset.name} needs a column {str(error)!r}, which source row {source_row} lacks; it has "
            f"{', '.join(map(str, row))}: is this another copy of the data set?"
        ) from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # Sources hold nulls and texts where numbers belong, and JSON of any depth; a whole source of the wrong kind
        # ends with no rows at all, which is an error.
        yield Skip(f"{type(error).__name__} in the converter", error)


def _verl_row(job: Job, example: Example) -> dict | Skip:
    dataset = job.dataset
    if any(mark in example.text for mark in _OTHER_MARKS):
        return Skip("text holds <video> or <audio>", example.text)
    if example.text.count(MARK) != len(example.images):
        return Skip("marks and images differ", f"{example.text.count(MARK)} marks, {len(example.images)} images")
    if example.answer is None or example.answer in ("", []):
        return Skip("no answer")
    try:
        images = [
            store_image(read_image(image, job.folders), job.max_side, dataset.drop_small) for image in example.images
        ]
    except Skip as skip:
        return skip
    answer, metadata = example.answer, example.metadata
    if example.boxes:
        if example.unit_boxes:
            answer = from_unit(answer, images[0])
        answer = scaled_boxes(answer, images[0])
    if example.boxes or example.reply == "box":
        # The names the box objectives ask for; their original image is the one they find in the row.
        metadata = {**(metadata or {}), "orig_w": images[0].width, "orig_h": images[0].height}
    question = example.text.replace(MARK, "").strip() if example.question is None else example.question
    # Half a surrogate pair is text to Python and JSON, but not to parquet: it must cost its row, not the shard.
    f"{example.text}{question}{answer}".encode()
    return make_row(
        data_source=example.data_source or dataset.name,
        prompt=[{"role": "user", "content": user_turn(example.text, example.reply, job.style)}],
        ability=dataset.ability,
        answer=answer,
        question=question,
        split=job.split,
        index=0,  # known once all shards before this one are finished
        images=[image.data for image in images],
        image_sizes=[image.size for image in images],
        metadata=metadata,
    )


def _indexed(table: pa.Table, first: int) -> pa.Table:
    """The table with `extra_info.index` counted from `first`."""
    position = SCHEMA.get_field_index("extra_info")
    infos = table["extra_info"].combine_chunks()
    index = pa.array(range(first, first + len(table)), pa.int64())
    arrays = [index if field.name == "index" else infos.field(field.name) for field in infos.type]
    infos = pa.StructArray.from_arrays(arrays, fields=list(infos.type))
    return table.set_column(position, SCHEMA.field(position), infos)
