"""The checker finds each flaw, names its row, and passes what is sound."""

import datetime
import io
import random

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from data_prep.__main__ import app
from data_prep.check import check_files
from data_prep.check.image_hash import ImageIndex, difference_hash
from data_prep.check.lengths import PromptLength
from data_prep.conversion import convert
from data_prep.dataset import all_datasets
from data_prep.images import store_image
from data_prep.rows import make_row
from data_prep.source import open_source
from data_prep.writer import SCHEMA, write_parquet
from recap_verl.lab.tiny import build_tokenizer


def row(number, split="train", images=(), text=None, question=None, **changes):
    question = f"Question {number}?" if question is None else question
    fields = {
        "data_source": "text/x",
        "prompt": [{"role": "user", "content": "<image>" * len(images) + question if text is None else text}],
        "ability": "a",
        "answer": "B",
        "question": question,
        "split": split,
        "index": number,
        "images": images,
        "image_sizes": [store_image(image).size for image in images],
    }
    return make_row(**{**fields, **changes})


def written(tmp_path, rows, name="train.parquet"):
    write_parquet(rows, tmp_path / name)
    return tmp_path / name


def test_sound_files_pass(kit, tmp_path):
    train = written(tmp_path, [row(number, images=[kit.png(number)]) for number in range(6)] + [row(6), row(7)])
    test = written(tmp_path, [row(number, "test", [kit.png(number)]) for number in range(10, 14)], "test.parquet")
    report = check_files([train, test])
    assert report.ok and not report.counts.total()
    assert str(report).splitlines() == [f"{train}: 8 rows, 6 images", f"{test}: 4 rows, 4 images", "nothing found"]


FLAWS = [
    ("prompt", {"prompt": []}, "an empty prompt"),
    ("prompt", {"prompt": [{"role": "user", "content": None}]}, "an empty prompt, turn, role or content"),
    ("prompt", {"prompt": [{"role": "assistant", "content": "a"}]}, "the last turn is the assistant's"),
    ("marks", {"prompt": [{"role": "user", "content": "<image>a"}]}, "1 marks, 0 images"),
    ("image", {"images": [{"bytes": None, "path": "a.png"}]}, "image 0 has no bytes"),
    ("image", {"images": [{"bytes": b"GIF89a", "path": None}]}, "image 0 is no PNG and no JPEG"),
    ("truth", {"reward_model": {"style": "rule", "ground_truth": None}}, "no ground truth"),
    ("truth", {"reward_model": {"style": "rule", "ground_truth": "B"}}, "'B' is no JSON"),
    ("truth", {"reward_model": {"style": "rule", "ground_truth": '""'}}, "an empty ground truth"),
    ("truth", {"reward_model": {"style": "rule", "ground_truth": "[" * 100_000}}, "is no JSON"),
    ("truth", {"data_source": "refcoco"}, "objective 'iou' raised ValueError: ground_truth holds no box"),
    ("licence", {"data_source": "forbidden"}, "forbidden: research only"),
]


@pytest.fixture
def forbidden(monkeypatch):
    """A data set that must not be trained on."""
    from data_prep.check import contents
    from data_prep.dataset import Dataset, of_data_source

    facts = {"name": "forbidden", "summary": "", "role": "probe", "objectives": {}, "convert": None}
    dataset = Dataset(**facts, licence="research only", splits={"test": "test"}, trainable=False)
    found = {"forbidden": dataset}
    monkeypatch.setattr(contents, "of_data_source", lambda source: found.get(source) or of_data_source(source))


@pytest.mark.parametrize(("kind", "fields", "message"), FLAWS)
def test_each_flaw_is_found_and_named(tmp_path, forbidden, kind, fields, message):
    file = written(tmp_path, [row(0), {**row(1), **fields}, row(2)])
    report = check_files([file])
    assert not report.ok and report.counts[kind] == 1
    assert report.first[kind][0].startswith(f"{file} row 1: ") and message in report.first[kind][0]
    assert set(report.counts) <= {kind, "marks"}
    assert check_files([file], allowed=frozenset({kind, "marks"})).ok


def test_a_cut_off_image_is_found(kit, tmp_path):
    for number, data in enumerate((kit.png(1, 300, 300), kit.jpeg(1, 300, 300))):
        cut = {**row(0, images=[data]), "images": [{"bytes": data[: len(data) // 2], "path": None}]}
        report = check_files([written(tmp_path, [cut], f"{number}.parquet")])
        assert "image 0 cannot be decoded: OSError" in report.first["image"][0]


def test_other_columns_are_found(tmp_path):
    table = pa.Table.from_pylist([row(0)], schema=SCHEMA)
    for name, changed, message in (
        ("a", table.drop_columns(["images"]), "images is missing"),
        ("b", table.append_column("when", pa.array([datetime.date(2026, 1, 1)])), "when is not among them"),
        ("c", table.set_column(3, "ability", pa.array([1])), "ability is int64"),
    ):
        pq.write_table(changed, tmp_path / name)
        report = check_files([tmp_path / name])
        assert not report.ok and message in report.first["schema"][0]


def test_images_that_datasets_would_decode_are_found(kit, tmp_path):
    """Same types, but verl's `concatenate_datasets` fails on Image beside plain structs."""
    table = pq.read_table(written(tmp_path, [row(0, images=[kit.png(1)])]))
    features = datasets.Features.from_arrow_schema(SCHEMA)
    features["images"] = datasets.List(datasets.Image())
    datasets.Dataset.from_list(table.to_pylist(), features=features).to_parquet(tmp_path / "typed.parquet")
    report = check_files([tmp_path / "typed.parquet"])
    assert report.counts == {"schema": 1} and "images are of type Image" in report.first["schema"][0]
    plain = datasets.Dataset.from_list(table.to_pylist(), features=datasets.Features.from_arrow_schema(SCHEMA))
    plain.to_parquet(tmp_path / "plain.parquet")
    assert check_files([tmp_path / "plain.parquet"]).ok


def test_duplicates_within_and_across_files(kit, tmp_path):
    first = written(tmp_path, [row(0), row(1), row(0), row(2, images=[kit.png(1)])])
    second = written(tmp_path, [row(2, images=[kit.png(1)]), row(2, images=[kit.png(2)])], "train-2.parquet")
    report = check_files([first, second])
    assert report.first["duplicate"] == [f"{first} row 2: as {first} row 0", f"{second} row 0: as {first} row 3"]
    assert report.counts == {"duplicate": 2}


def test_a_question_of_the_evaluation_among_the_training_data(tmp_path):
    train = written(tmp_path, [row(0), row(1, question="What is two plus two?")])
    test = written(
        tmp_path,
        [row(5, "test"), row(6, "test", question="what is  two plus TWO", text="Other words.")],
        "test.parquet",
    )
    for files in ([train, test], [test, train]):
        report = check_files(files)
        assert report.first["overlap"] == [f"{test} row 1: the question of {train} row 1"]


@pytest.mark.parametrize(
    ("trained", "evaluated", "same"),
    [
        ("What is 12 + 3?", "what is 12+3", True),
        ("What is 12 + 3?", "What is 12 - 3?", False),
        ("Is x < 3?", "Is x > 3?", False),
        ("A two-digit number, please.", "a two digit number please", True),
        ("Qu'est-ce que c'est ?", "qu’est-ce que c’est?", True),
        ("这是什么？", "这是 什么", True),
        ("这是什么？", "那是什么？", False),
    ],
)
def test_which_questions_are_the_same(tmp_path, trained, evaluated, same):
    train = written(tmp_path, [row(0, question=trained, text="One prompt.")])
    test = written(tmp_path, [row(0, "test", question=evaluated, text="Another.")], "test.parquet")
    assert check_files([train, test]).counts == ({"overlap": 1} if same else {})


def test_mathverse_shares_its_pictures_with_geometry3k(kit, tmp_path):
    """The paper's hybrid setting is validated on MathVerse, which took problems out of Geometry3K and GeoQA."""
    drawn = kit.picture(7, 300, 200)
    source = {
        "geometry3k": {"images": [kit.encoded(drawn)], "problem": "<image>Find x.", "answer": "7"},
        "mathverse": {
            "image": kit.encoded(drawn.resize((210, 140)), "JPEG"),
            "question": "As shown, AB is 3 long. Find the length of x.\nChoices:\nA:5\nB:7",
            "problem_version": "Text Lite",
            "question_type": "multi-choice",
            "answer": "B",
        },
    }
    files = []
    for name, split in (("geometry3k", "train"), ("mathverse", "test")):
        pq.write_table(pa.Table.from_pylist([source[name]]), tmp_path / f"{name}.parquet")
        rows = open_source(all_datasets()[name], split, str(tmp_path / f"{name}.parquet"))
        files.append(convert(all_datasets()[name], split, rows, tmp_path / name / f"{split}.parquet").path)
    report = check_files(files)
    assert report.first["image_overlap"] == [f"{files[1]} row 0: the image of {files[0]} row 0"]
    assert report.counts == {"image_overlap": 1}


def test_an_image_of_the_evaluation_among_the_training_data(kit, tmp_path):
    same, resized = kit.picture(1, 300, 200), kit.picture(1, 300, 200).resize((150, 100))
    train = written(
        tmp_path,
        [row(0, images=[kit.encoded(same)], question="Find x."), row(1, images=[kit.png(2)], question="Find x.")],
    )
    test = written(
        tmp_path,
        [
            row(0, "test", [kit.encoded(resized, "JPEG")], question="find x"),
            row(1, "test", [kit.encoded(resized)], question="What is shown?"),
            row(2, "test", [kit.png(3)], question="Find x."),
        ],
        "test.parquet",
    )
    report = check_files([train, test])
    assert report.first["overlap"] == [f"{test} row 0: the image of {train} row 0"]
    assert report.first["image_overlap"] == [f"{test} row 1: the image of {train} row 0"]
    assert report.counts == {"overlap": 1, "image_overlap": 1}
    assert check_files([train]).ok and check_files([test]).ok


def test_rows_count_as_training_by_their_split_or_their_files_name(tmp_path, forbidden):
    for name, split in (("x.parquet", "train"), ("train_small.parquet", "test")):
        file = written(tmp_path, [row(0, split, data_source="forbidden")], name)
        assert check_files([file]).counts == {"licence": 1}
    assert check_files([written(tmp_path, [row(0, "test", data_source="forbidden")], "val.parquet")]).ok


def test_mathvista_is_refused_as_training_data(tmp_path):
    rows = [row(0, data_source="mathvista", metadata={"question_type": "free_form", "answer_type": "text"})]
    report = check_files([written(tmp_path, rows)])
    assert report.counts == {"licence": 1}
    assert "mathvista: CC BY-SA 4.0, test use only, training prohibited" in str(report)


def diagram(seed: int) -> Image.Image:
    """Thin lines on white, as geometry problems have them."""
    draw = random.Random(seed)
    image = Image.new("RGB", (400, 300), "white")
    pen = ImageDraw.Draw(image)
    points = [(draw.randint(30, 370), draw.randint(30, 270)) for _ in range(3)]
    pen.polygon(points, outline="black", width=3)
    for point in points:
        pen.text((point[0] + 4, point[1] - 12), draw.choice("ABCDEFGH"), fill="black", font_size=20)
    return image


def index_of(images):
    return ImageIndex([difference_hash(image) for image in images], [b"%d" % number for number in range(len(images))])


def test_diagrams_are_told_apart_and_copies_are_found(kit):
    drawn = [diagram(seed) for seed in range(300)]
    index = index_of(drawn)
    missed = confused = 0
    for number, image in enumerate(drawn):
        copy = Image.open(io.BytesIO(kit.encoded(image.resize((160, 120)), "JPEG")))
        found = index.like(difference_hash(copy), b"copy")
        missed += number not in found
        confused += len(set(found) - {number})
    assert missed <= 3 and confused == 0


def test_photographs_are_found_after_hard_compression(kit):
    pictures = [kit.picture(number, 320, 240) for number in range(50)]
    index = index_of(pictures)
    for number, picture in enumerate(pictures):
        file = io.BytesIO()
        picture.resize((90, 70)).save(file, "JPEG", quality=20)
        assert index.like(difference_hash(Image.open(file)), b"copy") == [number]


def test_blank_images_are_the_same_only_byte_for_byte():
    index = index_of([Image.new("RGB", (50, 50), "white")])
    blank = difference_hash(Image.new("RGBA", (60, 50), (0, 0, 0, 0)))
    assert not blank.any()
    assert index.like(blank, b"0") == [0] and index.like(blank, b"other") == []
    assert ImageIndex([], []).like(blank, b"0") == []


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return folder


class TestLengths:
    def test_text_is_measured_in_the_chat_template(self, tokenizer, tmp_path):
        length = PromptLength(str(tokenizer))
        prompt = "<|im_start|>user\nQuestion 1?<|im_end|>\n<|im_start|>assistant\n"
        tokens = len(prompt) - len("<|im_start|>") * 2 - len("<|im_end|>") + 3  # a byte a token, three special ones
        assert length(row(1), []) == tokens
        file = written(tmp_path, [row(1), row(22)])
        report = check_files([file], length=length, max_prompt_length=tokens)
        assert report.first["length"] == [f"{file} row 1: {tokens + 1} tokens"]
        assert f"longest prompt: {tokens + 1} tokens" in str(report)

    def test_images_count_by_their_size(self, tokenizer, kit):
        length = PromptLength(str(tokenizer))
        with_image = row(1, images=[kit.png(1, 280, 140)])
        marks = len("<|vision_start|><|image_pad|><|vision_end|>")
        assert length(with_image, [(280, 140)]) == length(row(1), []) + marks - 1 + 10 * 5
        small = PromptLength(str(tokenizer), max_pixels=28 * 28 * 8)
        assert small(with_image, [(280, 140)]) == length(row(1), []) + marks - 1 + 4 * 2


class TestCommand:
    @staticmethod
    def invoke(*arguments):
        return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["check", *map(str, arguments)])

    def test_its_status_says_what_it_found(self, tmp_path):
        sound = written(tmp_path, [row(0)])
        flawed = written(tmp_path, [row(0, "test")], "test.parquet")
        assert self.invoke(sound).exit_code == 0
        result = self.invoke(sound, flawed)
        assert result.exit_code == 1 and "overlap: 1 times an evaluation row" in result.output
        assert self.invoke(sound, flawed, "--allow", "overlap", "--allow", "duplicate").exit_code == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.parquet"], "nowhere.parquet cannot be read as parquet"),
            (["{file}", "--tokenizer", "/nowhere"], "--tokenizer /nowhere cannot be loaded"),
            (["{file}", "--max-prompt-length", "5"], "give --tokenizer too"),
            (["{file}", "--allow", "everything"], "--allow everything: kinds are schema, prompt"),
        ],
    )
    def test_mistakes(self, tmp_path, arguments, message):
        file = written(tmp_path, [row(0)])
        result = self.invoke(*(argument.format(file=file) for argument in arguments))
        assert result.exit_code == 2 and message in result.output

    def test_an_interruption_promises_nothing(self, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("data_prep.commands.check.check_files", interrupted)
        result = self.invoke(written(tmp_path, [row(0)]))
        assert result.exit_code == 130 and result.stderr == "data_prep: interrupted\n"

    def test_a_truncated_file(self, tmp_path):
        file = written(tmp_path, [row(0)])
        file.write_bytes(file.read_bytes()[:-9])
        result = self.invoke(file)
        assert result.exit_code == 2 and "train.parquet cannot be read as parquet" in result.output
