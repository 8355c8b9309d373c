"""One split of a data set from its source into one parquet file, with several processes, and again after a kill.

The source is cut into shards by its rows alone. Shards are converted in any order, each into a file of its own in
`.<name>.parts` beside the output, then joined in theirs: so the output's bytes depend neither on the number of
processes nor on how often the conversion was interrupted.
"""

import contextlib
import fcntl
import hashlib
import inspect
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.dataset import Dataset, SourceRow
from data_prep.errors import DataError, explain_os_error
from data_prep.shards import Job, Shard, convert_shard
from data_prep.source import Source
from data_prep.summary import Summary, list_of
from data_prep.workers import run_tasks
from data_prep.writer import atomic_file, batched, parquet_writer


def convert(
    dataset: Dataset,
    split: str,
    source: Source,
    path: Path,
    *,
    limit: int | None = None,
    processes: int = 1,
    style: str | None = None,
    max_side: int | None = None,
    progress: Callable[[int], None] = lambda source_rows: None,
) -> Summary:
    """Write `split` of `dataset` to `path`, and the rows left out to `<name>.skipped.jsonl` beside it.

    Args:
        limit: rows of the output, at most.
        processes: that convert; this one reads the source.
        style, max_side: instead of the data set's own.
        progress: called with the number of source rows each time some are finished.

    A file that was written with the same arguments from the same source is left as it is.

    Raises:
        DataError: whatever is wrong with the source, the options or the disk. What is finished then is kept, as it is
            after KeyboardInterrupt or a kill, and the next call with the same arguments goes on from there.
    """
    parts = path.parent / f".{path.name}.parts"
    job = Job(dataset, split, style or dataset.style, max_side or dataset.max_side, source.folders, parts)
    fingerprint = _fingerprint(job, source, limit)
    if summary := Summary.recorded(path, fingerprint):
        return summary
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with _only_one(parts, path):
            try:
                _keep_only_same(parts, fingerprint)
                _convert_shards(job, source, limit, processes, progress)
                summary = _join(job, path, limit)
                summary.record(fingerprint)
            except BaseException:
                if not any(parts.glob("*.arrow")):
                    shutil.rmtree(parts)
                raise
            shutil.rmtree(parts)
    except OSError as error:
        raise explain_os_error(error, f"writing {path}") from error
    return summary


class _Finished:
    """Shards that are done, and how many rows those before the first gap hold."""

    def __init__(self, job: Job):
        self.rows_of: dict[int, int] = {}
        self.gap = self.rows = self.source_rows = 0
        while shard := Shard.read(job.shard(self.gap)):
            self.source_rows += shard.source_rows
            self.add(self.gap, shard.rows)

    def add(self, number: int, rows: int) -> None:
        self.rows_of[number] = rows
        while self.gap in self.rows_of:
            self.rows += self.rows_of[self.gap]
            self.gap += 1


def _convert_shards(job: Job, source: Source, limit: int | None, processes: int, progress: Callable) -> None:
    finished = _Finished(job)
    progress(finished.source_rows)

    def tasks() -> Iterator[tuple[Job, int, int, list[SourceRow]]]:
        first = finished.source_rows
        batches = batched(source.rows(first), limit)
        number = finished.gap
        while (limit is None or finished.rows < limit) and (batch := next(batches, None)):
            if shard := Shard.read(job.shard(number)):
                finished.add(number, shard.rows)
                progress(shard.source_rows)
            else:
                yield job, number, first, batch
            first += len(batch)
            number += 1

    for number, source_rows, rows in run_tasks(convert_shard, tasks(), processes):
        finished.add(number, rows)
        progress(source_rows)


def _join(job: Job, path: Path, limit: int | None) -> Summary:
    """All shards in order, as far as the limit goes, as one file with a row group for each."""
    listed = list_of(path)
    count, skipped = 0, Counter()
    with atomic_file(path, folder=job.parts) as file, atomic_file(listed, folder=job.parts) as notes:
        with parquet_writer(file) as writer:
            for shard in _shards(job):
                table, last = shard.table(count, shard.rows if limit is None else limit - count)
                if len(table):
                    writer.write_table(table)
                count += len(table)
                full = count == limit
                for entry in shard.skipped:
                    if not full or entry["source_row"] <= last:
                        skipped[entry["reason"]] += 1
                        notes.write(f"{json.dumps(entry)}\n".encode())
                if full:
                    break
        if not count:
            raise _no_rows(job, skipped)
    if not skipped:
        listed.unlink()
    return Summary(path, count, skipped, listed)


def _shards(job: Job) -> Iterator[Shard]:
    return itertools.takewhile(bool, (Shard.read(job.shard(number)) for number in itertools.count()))


def _no_rows(job: Job, skipped: Counter) -> DataError:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in skipped.most_common(3))
    return DataError(f"{job.dataset.name}: no row of the split '{job.split}' can be used: {reasons or 'it is empty'}")


@contextlib.contextmanager
def _only_one(parts: Path, path: Path) -> Iterator[None]:
    with open(parts / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another process is writing {path}: wait for it, or choose another --out") from None
        yield


def _fingerprint(job: Job, source: Source, limit: int | None) -> str:
    """Equal where the shards would be: same source, options and code."""
    code = hashlib.sha256()
    for file in sorted({*Path(__file__).parent.rglob("*.py"), Path(inspect.getfile(job.dataset.convert))}):
        code.update(file.read_bytes())
    options = [job.dataset.name, job.split, job.style, job.max_side, list(map(str, job.folders)), limit]
    return json.dumps([options, source.fingerprint(), code.hexdigest()])


def _keep_only_same(parts: Path, fingerprint: str) -> None:
    """Empty the folder unless it is of an interrupted conversion with the same fingerprint."""
    record = parts / "conversion.json"
    same = record.is_file() and record.read_text() == fingerprint
    for file in parts.iterdir():
        half_written = file.name.startswith(".")
        if half_written or not (same or file.name == "lock"):
            file.unlink()
    if not same:
        with atomic_file(record) as written:
            written.write(fingerprint.encode())
