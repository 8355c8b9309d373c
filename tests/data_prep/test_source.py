"""Sources: every kind of file, the files of a split, the hub's loading code, and mistakes in one sentence."""

import csv
import json
import socket

import datasets
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import writer
from data_prep.conversion import convert
from data_prep.dataset import Dataset, Example
from data_prep.errors import DataError
from data_prep.sets import refcoco
from data_prep.source import open_source
from data_prep.source.files import read_rows
from data_prep.source.hub import HubSource
from data_prep.source.local import LocalSource

ROWS = [{"number": number, "text": f"row {number}"} for number in range(100)]
DATASET = Dataset(
    name="example",
    summary="",
    role="probe",
    licence="",
    convert=lambda row: Example(row["text"], "x"),
    objectives={},
    splits={"val": "validation"},
    trainable=False,
)


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".jsonl" or path.name == "lines.json":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        new = pa.ipc.new_stream if path.name == "stream.arrow" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=9)
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0], dialect="excel-tab" if path.suffix == ".tsv" else "excel")
            writer.writeheader()
            writer.writerows(rows)
    return path


NAMES = ["x.parquet", "x.jsonl", "x.json", "lines.json", "x.arrow", "stream.arrow", "x.csv", "x.tsv"]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_file_from_any_row_on(tmp_path, name):
    rows = ROWS if "sv" not in name else [{key: str(value) for key, value in row.items()} for row in ROWS]
    source = LocalSource(write(tmp_path / name), "train")
    for start in (0, 1, 7, 50, 99, 100):
        assert list(source.rows(start)) == rows[start:]
    assert source.count() == (100 if name == "x.parquet" else None)


@pytest.mark.parametrize("name", NAMES)
def test_rows_go_on_across_files(tmp_path, name):
    kind = name.rpartition(".")[2]
    for number in range(3):
        write(tmp_path / f"train-{number}.{kind}", ROWS[10 * number : 10 * number + 10])
    source = LocalSource(tmp_path, "train")
    for start in (0, 3, 10, 25, 30):
        assert [int(row["number"]) for row in source.rows(start)] == list(range(start, 30))


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl"])
def test_the_first_rows_of_each_configuration(tmp_path, name):
    """The configurations one after the other in the order asked for, those that are not there left out."""
    for first, config in ((0, "b"), (10, "a"), (20, "other")):
        write(tmp_path / config / name, ROWS[first : first + 8])
    source = LocalSource(tmp_path, "train", configs=("b", "missing", "a"), rows_per_config=3)
    expected = [("b", 0), ("b", 1), ("b", 2), ("a", 10), ("a", 11), ("a", 12)]
    assert source.missing == ("missing",)
    for start in (0, 2, 3, 5, 6):
        assert [(row.config, row["number"]) for row in source.rows(start)] == expected[start:]


def test_a_long_list_is_read_piece_by_piece(tmp_path):
    rows = [
        {"text": "x" * size, "list": [1, 2, {"a": "]"}], "number": -1.5} for size in (10, 3_000_000, 0, 5, 1_000_000)
    ]
    path = tmp_path / "x.json"
    for text in (json.dumps(rows), json.dumps(rows, indent=1), f"\n {json.dumps(rows)}  "):
        path.write_text(text)
        assert list(read_rows(path)) == rows
    path.write_text("[]")
    assert list(read_rows(path)) == []


def test_a_row_group_of_any_size_is_read_with_little_memory(tmp_path):
    """80 MB of pictures in one row group, as hubs have them."""
    path, pictures = tmp_path / "x.parquet", [bytes([number]) * 400_000 for number in range(200)]
    options = {"use_dictionary": False, "compression": "none", "write_batch_size": 4}
    pq.write_table(pa.table({"image": pictures}), path, row_group_size=200, **options)
    before, most = pa.total_allocated_bytes(), 0
    for number, row in enumerate(read_rows(path)):
        assert row["image"] == pictures[number]
        most = max(most, pa.total_allocated_bytes() - before)
    assert number == 199 and most < 24 << 20


@pytest.mark.parametrize(
    ("files", "split", "chosen"),
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], "train", [0]),
        (["SAT_train.parquet", "SAT_val.parquet", "SAT_test.parquet"], "validation", [1]),
        (["dev.jsonl", "validation.jsonl"], "validation", [1]),
        (["dev.jsonl", "validation.jsonl"], "dev", [0]),
        (["b-00001.parquet", "a-00000.parquet"], "test", [1, 0]),
        (["train/b.parquet", "test/a.parquet"], "test", [1]),
        (["testmini.json", "test.json"], "test", [1]),
        (["testA.json", "testB.json"], "testA", [0]),
        (["train.parquet", "train.json"], "train", [0]),
        (["train.jsonl", ".hidden/train.parquet", "state.json"], "train", [0]),
    ],
)
def test_files_of_a_split(tmp_path, files, split, chosen):
    for name in files:
        write(tmp_path / name, ROWS[:1])
    assert [file for _, file in LocalSource(tmp_path, split).files] == [tmp_path / files[number] for number in chosen]


def test_configurations_are_folders(tmp_path):
    for config in ("en", "cn", "other"):
        write(tmp_path / config / "test.parquet", [{"number": 0, "text": config}])
    source = LocalSource(tmp_path, "test", configs=("en", "cn", "missing"))
    assert [(row.config, row["text"]) for row in source.rows()] == [("en", "en"), ("cn", "cn")]
    # One of them, or a copy that has them all in one.
    for path, config in ((tmp_path / "en", "en"), (tmp_path / "other", "")):
        source = LocalSource(path, "test", configs=("en", "cn"))
        assert [row.config for row in source.rows()] == [config] and source.missing == ()


def test_an_image_folder_names_its_files(tmp_path):
    write(tmp_path / "train" / "metadata.jsonl", [{"file_name": "a.png", "text": "x"}])
    source = LocalSource(tmp_path, "train")
    assert [row["image"] for row in source.rows()] == ["a.png"]
    assert source.folders == (tmp_path, tmp_path / "train")


def test_the_hubs_loading_code_streams_undecoded_rows(kit, tmp_path):
    rows = [{"image": kit.image(number), "text": str(number), "images": [kit.image(9)]} for number in range(5)]
    features = {"image": kit.IMAGE, "text": kit.TEXT, "images": datasets.List(kit.IMAGE)}
    kit.parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", rows, features)
    source = HubSource(str(tmp_path), "validation")
    found = list(source.rows())
    assert [row["image"]["bytes"] for row in found] == [row["image"]["bytes"] for row in rows]
    assert found[0]["images"][0]["bytes"] == kit.png(9)
    assert [row["text"] for row in source.rows(start=3)] == ["3", "4"]


def test_images_of_a_hubs_rows_may_lie_in_a_folder(kit, tmp_path, monkeypatch):
    """jxu124's RefCOCO names photographs and has none."""
    kit.files(tmp_path, {"coco/train2014/1.jpg": kit.jpeg(1)})
    row = {
        "sentences": [{"raw": "the zebra"}],
        "image_path": "coco/train2014/1.jpg",
        "bbox": [1.0, 2.0, 30.0, 40.0],
        "raw_anns": "{}",
    }
    stream = datasets.Dataset.from_list([row]).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **options: stream)
    source = open_source(refcoco.DATASET, "train", "jxu124/refcocog", images=tmp_path)
    path = convert(refcoco.DATASET, "train", source, tmp_path / "train.parquet").path
    (written,) = pq.read_table(path).to_pylist()
    assert written["images"][0]["bytes"] == kit.jpeg(1) and written["data_source"] == "refcocog"


def test_the_hubs_loading_code_fetches_images_beside_the_rows(kit, tmp_path):
    kit.files(tmp_path, {"train/a.jpg": kit.jpeg(1)})
    write(tmp_path / "train" / "metadata.jsonl", [{"file_name": "a.jpg", "text": "x"}])
    (row,) = HubSource(str(tmp_path), "train").rows()
    assert row["image"]["bytes"] == kit.jpeg(1) and row["text"] == "x"


class TestMistakes:
    def test_a_hub_that_does_not_answer(self, monkeypatch):
        def silent(*arguments, **options):
            raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nTraceback")

        monkeypatch.setattr(datasets, "load_dataset", silent)
        message = r"^the hub does not answer for owner/name \(en\), split test \(Couldn't reach .* Hub\): try again"
        with pytest.raises(DataError, match=message):
            next(HubSource("owner/name", "test", configs=("en",)).rows())

    def test_a_hub_that_takes_the_call_and_says_nothing(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
            monkeypatch.setattr("data_prep.source.hub._PATIENCE", 0.2)
            with pytest.raises(DataError, match=r"^the hub does not answer for owner/name, split test \(timed out\)"):
                next(HubSource("owner/name", "test").rows())

    def test_a_hub_that_falls_silent_in_the_middle(self, monkeypatch, tmp_path):
        """What came until then is kept, and the next run asks for what is missing."""
        silent = [True]

        class Stream:
            def decode(self, _):
                yield from ({"text": f"row {number}"} for number in range(15))
                if silent.pop():
                    raise httpx.ReadTimeout("The read operation timed out")
                yield from ({"text": f"row {number}"} for number in range(15, 20))

        monkeypatch.setattr(writer, "ROWS_AT_ONCE", 10)
        monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **options: Stream())
        path, source = tmp_path / "val.parquet", HubSource("owner/name", "validation")
        with pytest.raises(DataError, match=r"^the hub does not answer for .* \(The read operation timed out\): try"):
            convert(DATASET, "val", source, path)
        silent.append(False)
        done = []
        assert convert(DATASET, "val", source, path, progress=done.append).rows == 20
        assert done == [10, 10], "the first ten rows are there already"

    def test_a_data_set_the_hub_does_not_have(self, monkeypatch):
        def unknown(*arguments, **options):
            raise datasets.exceptions.DatasetNotFoundError("no")

        monkeypatch.setattr(datasets, "load_dataset", unknown)
        with pytest.raises(DataError, match="the hub knows no data set owner/name"):
            next(HubSource("owner/name", "test").rows())

    def test_a_split_the_hub_does_not_have(self, tmp_path):
        write(tmp_path / "train.parquet")
        with pytest.raises(DataError, match=r"split dev cannot be read from the hub: Bad split: dev"):
            next(HubSource(str(tmp_path), "dev").rows())

    def test_a_path_that_is_not_there(self):
        for where in ("./nowhere", "/nowhere/at/all", "nowhere"):
            with pytest.raises(DataError, match="is no file, no folder and no hub id"):
                open_source(DATASET, "val", where)

    def test_no_source_at_all(self):
        with pytest.raises(DataError, match="example is on no hub: give its folder with --source"):
            open_source(DATASET, "val")

    def test_splits_the_data_set_does_not_have(self, tmp_path):
        write(tmp_path / "x.parquet")
        with pytest.raises(DataError, match="example has no split 'test': choose from val"):
            open_source(DATASET, "test", str(tmp_path))
        assert open_source(DATASET, "test=testA", str(tmp_path)).split == "testA"
        with pytest.raises(DataError, match="its licence forbids training"):
            open_source(DATASET, "train=validation", str(tmp_path))

    def test_a_folder_without_the_split(self, tmp_path):
        write(tmp_path / "train.parquet")
        with pytest.raises(DataError, match=r"no file for the split 'test' among train.parquet: give one"):
            LocalSource(tmp_path, "test")

    def test_a_folder_without_data(self, tmp_path):
        (tmp_path / "readme.md").write_text("x")
        with pytest.raises(DataError, match=r"holds no file of the kinds \.parquet"):
            LocalSource(tmp_path, "test")
        with pytest.raises(DataError, match="is of no readable kind"):
            LocalSource(tmp_path / "readme.md", "test")

    @pytest.mark.parametrize("name", ["x.parquet", "x.json", "x.jsonl", "x.arrow"])
    def test_truncated_files(self, tmp_path, name):
        path = write(tmp_path / name)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match=rf"{name} is damaged or truncated at row \d+ \(.*\): fetch it again"):
            list(LocalSource(path, "train").rows())

    def test_a_hole_in_the_middle_of_a_parquet_file(self, tmp_path):
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table({"text": [f"{number:06d}" * 50 for number in range(2000)]}), path, row_group_size=500)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 3000] = b"\xff" * 3000
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x.parquet is damaged or truncated at row \d+"):
            list(LocalSource(path, "train").rows())

    def test_only_an_object_of_its_own_file_may_be_in_windows_encoding(self, tmp_path):
        row = {"text": ["the café’s sign", "naïve"]}
        for indent in (None, 0, 2):
            path = tmp_path / f"{indent}.json"
            path.write_bytes(json.dumps(row, indent=indent, ensure_ascii=False).encode("cp1252"))
            assert list(read_rows(path)) == [row]
        path.write_bytes(path.read_bytes().replace("é".encode("cp1252"), b"\x81"))
        with pytest.raises(DataError, match=r"2.json is damaged or truncated at row 0 \(UnicodeDecodeError: 'charmap'"):
            list(read_rows(path))
        for name, text in (("x.jsonl", json.dumps(row, ensure_ascii=False)), ("x.json", '["é"]')):
            (tmp_path / name).write_bytes(text.encode("cp1252"))
            with pytest.raises(DataError, match=f"{name} is damaged or truncated at row 0"):
                list(read_rows(tmp_path / name))

    @pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "1" * 5000 + "}"])
    def test_json_that_python_refuses(self, tmp_path, name, text):
        (tmp_path / name).write_text(f"[{text}]" if name == "x.json" else text)
        with pytest.raises(DataError, match=rf"{name} is damaged or truncated at row 0 \("):
            list(read_rows(tmp_path / name))

    def test_a_list_of_something_else(self, tmp_path):
        (tmp_path / "x.json").write_text("[1, 2]")
        with pytest.raises(DataError, match="holds a int as row 0: it must be a list of objects"):
            list(LocalSource(tmp_path / "x.json", "train").rows())
