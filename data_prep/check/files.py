"""Checks of whole files, one row in memory at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_prep.check import contents
from data_prep.check.findings import Place, Report
from data_prep.check.lengths import PromptLength
from data_prep.check.overlap import Overlaps
from data_prep.errors import DataError
from data_prep.source.files import read_rows
from data_prep.writer import SCHEMA


def check_files(
    files: Iterable[Path],
    *,
    length: PromptLength | None = None,
    max_prompt_length: int | None = None,
    allowed: frozenset[str] = frozenset(),
) -> Report:
    """Check files by themselves and against each other.

    A row is a training row if its `extra_info.split` is `train`, or its file's name begins with it.

    Raises:
        DataError: a file is not there or no parquet file.
    """
    report = Report(allowed)
    overlaps = Overlaps(report)
    for file in files:
        report.rows[file] = 0
        for number, row in enumerate(_rows(file, report)):
            place = Place(file, number)
            report.rows[file] += 1
            training = file.name.startswith("train") or (row["extra_info"] or {}).get("split") == "train"
            images = _check_row(row, place, training, report)
            if images is None:
                continue
            report.images[file] += len(images)
            overlaps.see(row, images, place, training)
            if length:
                tokens = length(row, [image.size for image in images])
                report.longest = max(report.longest, tokens)
                if max_prompt_length and tokens > max_prompt_length:
                    report.add("length", place, f"{tokens} tokens")
    overlaps.finish()
    return report


def _rows(file: Path, report: Report) -> Iterator[dict]:
    """None of a file whose columns are others: verl could not concatenate it."""
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet: {str(error).partition(chr(10))[0]}") from error
    differences = [
        f"{field.name} is {schema.field(field.name).type if field.name in schema.names else 'missing'}"
        for field in SCHEMA
        if field.name not in schema.names or schema.field(field.name).type != field.type
    ]
    differences += [f"{name} is not among them" for name in schema.names if name not in SCHEMA.names]
    # What `datasets` notes of an Image column: such files and others do not concatenate, though all types are equal.
    if b'"Image"' in (schema.metadata or {}).get(b"huggingface", b""):
        differences.append("images are of type Image in its notes for Hugging Face datasets: write it with data_prep")
    for difference in differences:
        report.add("schema", file, difference)
    return iter(()) if differences else read_rows(file)


def _check_row(row: dict, place: Place, training: bool, report: Report) -> list[Image.Image] | None:
    """The row's images, None if the row is too broken to be compared with others."""
    if flaw := contents.prompt_flaw(row):
        report.add("prompt", place, flaw)
        return None
    if flaw := contents.mark_flaw(row):
        report.add("marks", place, flaw)
    if flaw := contents.truth_flaw(row):
        report.add("truth", place, flaw)
    if training and (licence := contents.may_not_train(row)):
        report.add("licence", place, licence)
    images = list(contents.open_images(row))
    flaws = [image for image in images if isinstance(image, str)]
    for flaw in flaws:
        report.add("image", place, flaw)
    return None if flaws else images
