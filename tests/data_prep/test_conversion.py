"""Conversions: the same bytes however many processes and interruptions, nothing lost silently, whole files or none."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import writer
from data_prep.conversion import convert
from data_prep.dataset import Dataset, Example, SourceRow
from data_prep.errors import DataError, Skip
from data_prep.sets import thinklite
from data_prep.source.local import LocalSource


class Rows:
    """A source in memory that says how far it was read."""

    name = "memory"
    folders = ()

    def __init__(self, rows, version=0):
        self.values = rows
        self.version = version
        self.read = 0

    def fingerprint(self):
        return [self.version]

    def rows(self, start=0):
        for number in range(start, len(self.values)):
            self.read = number + 1
            yield SourceRow(self.values[number])


def several(row):
    """0, 1 or more rows of one, by its text."""
    if row["text"] == "bad":
        raise Skip("bad text", row["text"])
    if row["text"] == "null":
        return Example(row["nothing"] + "x", "y")
    for number in range(row["copies"]):
        yield Skip("odd copy", number) if number == 3 else Example(f"{row['text']} {number}", "yes")


def single(row):
    return Example(row["text"], row["answer"])


def dataset(converter=several, **changes):
    facts = {"name": "example", "summary": "", "role": "general", "licence": "", "objectives": {"accuracy": {}}}
    return Dataset(**{**facts, "convert": converter, "splits": {"train": "train"}, **changes})


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(writer, "ROWS_AT_ONCE", 10)


def example_rows(count=95):
    return [{"text": "bad" if number % 7 == 6 else f"row {number}", "copies": number % 5} for number in range(count)]


def texts(path):
    return [row["prompt"][0]["content"].split("\n")[0] for row in pq.read_table(path).to_pylist()]


def test_rows_are_exploded_skipped_and_counted(tmp_path, small_shards):
    summary = convert(dataset(), "train", Rows(example_rows(20)), tmp_path / "train.parquet")
    expected = [f"row {n} {k}" for n in range(20) if n % 7 != 6 for k in range(n % 5) if k != 3]
    assert texts(summary.path) == expected
    infos = [row["extra_info"] for row in pq.read_table(summary.path).to_pylist()]
    assert [info["index"] for info in infos] == list(range(len(expected))) == list(range(summary.rows))
    assert {info["split"] for info in infos} == {"train"}
    left_out = [json.loads(line) for line in summary.listed.read_text().splitlines()]
    assert [entry["source_row"] for entry in left_out if entry["reason"] == "bad text"] == [6, 13]
    assert [entry["source_row"] for entry in left_out if entry["reason"] == "odd copy"] == [4, 9, 14, 19]
    assert summary.skipped == {"bad text": 2, "odd copy": 4}
    assert "32 rows" in str(summary) and "left out 6 (4 odd copy, 2 bad text), listed in" in str(summary)


def test_a_clean_conversion_lists_nothing(tmp_path):
    (tmp_path / "train.skipped.jsonl").write_text("of an earlier one")
    convert(dataset(), "train", Rows([{"text": "a", "copies": 1}]), tmp_path / "train.parquet")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".train.parquet.done", "train.parquet"]


@pytest.mark.parametrize("limit", [1, 7, 30, 80, 1000])
def test_a_limit_gives_the_first_rows_and_reads_no_further(tmp_path, small_shards, limit):
    convert(dataset(), "train", Rows(example_rows()), tmp_path / "all.parquet")
    source = Rows(example_rows())
    summary = convert(dataset(), "train", source, tmp_path / "train.parquet", limit=limit)
    every = texts(tmp_path / "all.parquet")
    assert texts(summary.path) == every[:limit]
    assert limit >= len(every) or source.read <= limit + 20


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 9])
def test_an_interrupted_conversion_goes_on_and_ends_with_the_same_bytes(tmp_path, small_shards, after):
    whole, path = tmp_path / "whole.parquet", tmp_path / "train.parquet"
    convert(dataset(), "train", Rows(example_rows()), whole)
    steps = []

    def stop(rows):
        steps.append(rows)
        if len(steps) > after:
            raise Interrupt

    source = Rows(example_rows())
    with pytest.raises(Interrupt):
        convert(dataset(), "train", source, path, progress=stop)
    assert not path.exists()
    done = []
    summary = convert(dataset(), "train", Rows(example_rows()), path, progress=done.append)
    assert done[0] == 10 * after, "finished shards are not converted again"
    assert path.read_bytes() == whole.read_bytes()
    assert summary.listed.read_bytes() == whole.with_name("whole.skipped.jsonl").read_bytes()
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(".parts")]


def test_a_hole_among_the_shards_is_filled(tmp_path, small_shards):
    path = tmp_path / "train.parquet"
    convert(dataset(), "train", Rows(example_rows()), tmp_path / "whole.parquet")
    with pytest.raises(Interrupt):
        convert(dataset(), "train", Rows(example_rows()), path, progress=stop_after(6))
    (tmp_path / ".train.parquet.parts" / "000002.arrow").unlink()
    (tmp_path / ".train.parquet.parts" / "000004.arrow").write_bytes(b"")
    convert(dataset(), "train", Rows(example_rows()), path)
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def stop_after(steps):
    left = [steps]

    def progress(_):
        left[0] -= 1
        if left[0] < 0:
            raise Interrupt

    return progress


@pytest.mark.parametrize("change", ["source", "limit", "style"])
def test_shards_of_another_conversion_are_not_taken(tmp_path, small_shards, change):
    path = tmp_path / "train.parquet"
    with pytest.raises(Interrupt):
        convert(dataset(), "train", Rows(example_rows()), path, progress=stop_after(3))
    others = [{"text": f"other {number}", "copies": 1} for number in range(30)]
    options = {"limit": {"limit": 20}, "style": {"style": "plain"}}.get(change, {})
    source = Rows(others, version=1) if change == "source" else Rows(example_rows())
    done = []
    convert(dataset(), "train", source, path, progress=done.append, **options)
    assert done[0] == 0
    assert texts(path)[0] == ("other 0 0" if change == "source" else "row 1 0")


def test_a_finished_conversion_is_left_alone(tmp_path):
    path = tmp_path / "train.parquet"
    first = convert(dataset(), "train", Rows(example_rows()), path)
    before = path.stat()
    source = Rows(example_rows())
    again = convert(dataset(), "train", source, path)
    assert again == first and source.read == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    convert(dataset(), "train", Rows(example_rows(), version=1), path)
    assert path.stat().st_mtime_ns != before.st_mtime_ns


HOSTILE = [
    {"text": None, "answer": "x"},
    {"text": 7, "answer": "x"},
    {"text": "fine", "answer": "x"},
    {"text": "a <image> mark", "answer": "x"},
    {"text": "a <video> mark", "answer": "x"},
    {"text": "half a \ud800 pair", "answer": "x"},
    {"text": "half an answer", "answer": "\udfff"},
    {"text": "no answer", "answer": None},
    {"text": "empty answer", "answer": ""},
    {"text": "infinite answer", "answer": float("inf")},
    {"text": "bytes", "answer": b"x"},
    {"text": "numbers are fine", "answer": 0},
]


def test_hostile_values_cost_their_rows_only(tmp_path):
    summary = convert(dataset(single), "train", Rows(HOSTILE), tmp_path / "train.parquet")
    assert texts(summary.path) == ["fine", "numbers are fine"]
    assert summary.skipped.total() == len(HOSTILE) - 2
    reasons = {json.loads(line)["source_row"]: json.loads(line)["reason"] for line in summary.listed.open()}
    assert reasons[1] == "TypeError in the converter"
    assert reasons[3] == "marks and images differ"
    assert reasons[7] == reasons[8] == "no answer"


def test_a_missing_column_ends_it_with_those_there_are(tmp_path):
    message = r"^example needs a column 'copies', which source row 0 lacks; it has text, other: is this another copy"
    with pytest.raises(DataError, match=message):
        convert(dataset(), "train", Rows([{"text": "a", "other": 1}]), tmp_path / "train.parquet")
    assert not list(tmp_path.iterdir())


def test_no_rows_at_all_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(DataError, match=r"example: no row of the split 'train' can be used: bad text \(2\)"):
        convert(dataset(), "train", Rows([{"text": "bad"}] * 2), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="can be used: it is empty"):
        convert(dataset(), "train", Rows([], version=1), tmp_path / "train.parquet")
    assert not (tmp_path / "train.parquet").exists()


def test_shards_end_by_bytes_too():
    rows = [{"image": b"x" * (10 << 20)}] * 9
    assert [len(batch) for batch in writer.batched(rows)] == [4, 4, 1]
    assert [len(batch) for batch in writer.batched([{"text": "a"}] * 2500)] == [1024, 1024, 452]
    assert [len(batch) for batch in writer.batched([{"text": "a"}] * 25, limit=10)] == [10, 10, 5]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def on_a_full_disk(prefix, dir):
        path = dir / f"{prefix}x"
        path.touch()
        return os.open("/dev/full", os.O_WRONLY), str(path)

    before = convert(dataset(), "train", Rows(example_rows()), tmp_path / "train.parquet").path.read_bytes()
    monkeypatch.setattr(writer.tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(DataError, match=r"^no space left while writing .*train.parquet: free some and run the same"):
        convert(dataset(), "train", Rows(example_rows(), version=1), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"^no space left while writing"):
        writer.write_parquet(pq.read_table(tmp_path / "train.parquet").to_pylist(), tmp_path / "other.parquet")
    assert (tmp_path / "train.parquet").read_bytes() == before
    assert not (tmp_path / "other.parquet").exists()


def test_two_conversions_of_one_file_do_not_meet(tmp_path, small_shards):
    def convert_again(_):
        convert(dataset(), "train", Rows(example_rows()), tmp_path / "train.parquet")

    with pytest.raises(DataError, match=r"another process is writing .*train.parquet: wait for it"):
        convert(dataset(), "train", Rows(example_rows()), tmp_path / "train.parquet", progress=convert_again)


@pytest.fixture(scope="module")
def many(kit, tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "ThinkLite-VL-70k.parquet"
    images = [kit.jpeg(number, 96, 72) for number in range(50)]
    numbers = range(3500)
    columns = {
        "image": [images[number % 50] if number % 100 != 99 else b"broken" for number in numbers],
        "problem": [f"<image>Question {number}?" for number in numbers],
        "ground_truth": [str(number) for number in numbers],
    }
    pq.write_table(pa.table(columns), path, row_group_size=500)
    return path


@pytest.fixture(scope="module")
def expected(many, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "train.parquet"
    return convert(thinklite.DATASET, "train", LocalSource(many, "train"), path)


class TestProcesses:
    """With real processes, through the command line, on rows with images."""

    @staticmethod
    def command(source, out, processes=2, **options):
        arguments = [
            sys.executable,
            "-m",
            "data_prep",
            "thinklite",
            "--source",
            source,
            "--out",
            out,
            "--num-proc",
            processes,
        ]
        return subprocess.Popen(
            list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    @staticmethod
    def wait_for_a_shard(process, out):
        while not (out / ".train.parquet.parts" / "000000.arrow").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)

    def test_two_processes_write_the_same_bytes(self, many, expected, tmp_path):
        process = self.command(many, tmp_path)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and not errors
        assert "3465 rows; left out 35 (35 broken image)" in output
        assert (tmp_path / "train.parquet").read_bytes() == expected.path.read_bytes()
        assert (tmp_path / "train.skipped.jsonl").read_bytes() == expected.listed.read_bytes()

    @pytest.mark.parametrize(
        ("how", "status", "processes"), [(signal.SIGKILL, -9, 2), (signal.SIGINT, 130, 2), (signal.SIGINT, 130, 1)]
    )
    def test_killed_in_the_middle_it_goes_on(self, many, expected, tmp_path, how, status, processes):
        process = self.command(many, tmp_path, processes, start_new_session=True)
        self.wait_for_a_shard(process, tmp_path)
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does it
        else:
            process.send_signal(how)
        _, errors = process.communicate(timeout=30)  # its processes hold the pipes: they have ended too
        assert process.returncode == status
        assert not (tmp_path / "train.parquet").exists()
        if how == signal.SIGINT:
            assert errors == "data_prep: interrupted; run the same command again, it goes on from here\n"
        started = {}
        convert(
            thinklite.DATASET,
            "train",
            LocalSource(many, "train"),
            tmp_path / "train.parquet",
            progress=lambda rows: started.setdefault("from", rows),
        )
        assert started["from"] >= 1024
        assert (tmp_path / "train.parquet").read_bytes() == expected.path.read_bytes()

    def test_a_process_that_finds_the_disk_full_says_so(self, many, tmp_path):
        def no_large_files():
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

        process = self.command(many, tmp_path, preexec_fn=no_large_files)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert errors.startswith(f"data_prep: no space left while writing {tmp_path}/train.parquet: free some")
        assert len(errors.splitlines()) == 1
