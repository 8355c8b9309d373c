"""verl's own data set reads every file: text and images together, and nothing vanishes."""

import pytest
from data_layouts import layouts
from omegaconf import OmegaConf
from verl.utils.dataset.rl_dataset import RLHFDataset

from data_prep.conversion import convert
from data_prep.dataset import all_datasets, of_data_source
from data_prep.source import open_source
from data_prep.text_tasks import rows
from data_prep.writer import write_parquet
from recap_verl.lab.tiny import build_tokenizer


@pytest.fixture
def load(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def load(files, processor=None, **options):
        config = OmegaConf.create({"cache_dir": str(tmp_path / "verl"), "filter_overlong_prompts": False, **options})
        return RLHFDataset(list(map(str, files)), build_tokenizer(), config, processor)

    return load


@pytest.fixture
def files(make_source, tmp_path):
    """A file of each kind: text alone, one image, several images, several rows of one."""
    chosen = [("geometry3k", "newer"), ("sat", "images"), ("refcoco", "vlm_r1"), ("gsm8k", "hub")]
    paths = []
    for name, layout in chosen:
        folder, options = make_source(name, layout)
        dataset = all_datasets()[name]
        source = open_source(dataset, "train", str(options.get("source", folder)), images=options.get("images"))
        paths.append(convert(dataset, "train", source, tmp_path / f"{name}.parquet").path)
    write_parquet(rows("train", ["last"], 0, 5), tmp_path / "quickstart.parquet")
    return [*paths, tmp_path / "quickstart.parquet"]


def test_every_layout_of_every_data_set_loads_together(load, make_source, tmp_path):
    rows_of = {}
    for name, layout in layouts():
        folder, options = make_source(name, layout)
        dataset = all_datasets()[name.replace("_", "-")]
        # All splits of a layout have the same columns; `datasets` takes its time for each file.
        split = next(iter(options.get("splits", dataset.splits)))
        source = open_source(dataset, split, str(options.get("source", folder)), images=options.get("images"))
        path = tmp_path / f"{name}-{layout}.parquet"
        rows_of[path] = convert(dataset, split.partition("=")[0], source, path).rows
    loaded = load(rows_of, processor=object())
    assert len(loaded) == sum(rows_of.values()) and min(rows_of.values()) > 0
    # Each row is opened as training would: messages with their images.
    found = {loaded[number]["data_source"] for number in range(len(loaded))}
    assert {of_data_source(source).name for source in found} == set(all_datasets())


@pytest.mark.parametrize("order", [1, -1])
def test_all_kinds_load_together_in_any_order(load, files, order):
    loaded = load(files[::order], processor=object())
    seen = {}
    for number in range(len(loaded)):
        row = loaded[number]
        pictures = [
            part["image"]
            for turn in row["raw_prompt"]
            if isinstance(turn["content"], list)
            for part in turn["content"]
            if part["type"] == "image"
        ]
        sizes = row["extra_info"]["image_sizes"]
        assert [picture.size for picture in pictures] == [(size["width"], size["height"]) for size in sizes]
        assert "images" not in row
        seen.setdefault(row["data_source"], set()).add(len(pictures))
    assert seen["sat"] == {1, 2} and seen["geometry3k"] == {1, 2} and seen["refcoco"] == {1}
    assert seen["gsm8k"] == seen["text/last"] == {0}


def test_text_rows_need_no_processor_and_none_is_dropped_as_too_long(load, files):
    loaded = load(files[-2:], filter_overlong_prompts=True, max_prompt_length=500, filter_overlong_prompts_workers=None)
    assert len(loaded) == 10
    prompt = loaded[0]["raw_prompt"]
    assert [type(turn["content"]) for turn in prompt] == [str]


def test_vision_processing_finds_every_image(load, files):
    from qwen_vl_utils import process_vision_info

    loaded = load(files[:1], processor=object())
    images, _ = process_vision_info([loaded[number]["raw_prompt"] for number in range(len(loaded))])
    assert [image.size for image in images] == [(56, 56)] * 6 and {image.mode for image in images} == {"RGB"}
