"""The file goes into verl's own data set beside files of data_prep."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from verl.protocol import DataProto
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

from data_prep import writer
from data_prep.rows import make_row
from recap_verl.lab.tiny import build_tokenizer
from recap_verl.self_replay import domain_file
from recap_verl.self_replay.prompt_file import open_prompts
from recap_verl.self_replay.run import replay

CONFIG = OmegaConf.create(
    {"max_prompt_length": 512, "filter_overlong_prompts": True, "filter_overlong_prompts_workers": 1}
)


def test_a_made_extra_info_has_the_types_of_data_prep():
    theirs = {field.name: field.type for field in writer.SCHEMA.field("extra_info").type}
    ours = {field.name: field.type for field in domain_file.EXTRA_INFO}
    assert ours.items() <= theirs.items()


def data_prep_row(index: int) -> dict:
    return make_row(
        data_source="text/last",
        prompt=[{"role": "user", "content": f"say {index}"}],
        ability="toy",
        answer=f"label {index}",
        question=f"say {index}",
        split="train",
        index=index,
    )


@pytest.mark.parametrize("top_k", [0, 2])
@pytest.mark.parametrize("extra_info", ["kept", "made"])
@pytest.mark.parametrize("order", ["data first", "self first"])
def test_it_loads_beside_a_data_prep_file(top_k, extra_info, order, make_answer, scripted, settings_for, tmp_path):
    data, prompts, out = (tmp_path / f"{name}.parquet" for name in ("data", "prompts", "self"))
    writer.write_parquet((data_prep_row(i) for i in range(6)), data)
    table = pq.read_table(data)
    pq.write_table(table if extra_info == "kept" else table.drop_columns(["extra_info"]), prompts)
    file = open_prompts(prompts)
    rollout = scripted(lambda row, sample: make_answer(row, sample, top_k=top_k))
    replay(file, settings_for(file, top_k=top_k), out, lambda: rollout, report=lambda _: None)

    files = [str(data), str(out)] if order == "data first" else [str(out), str(data)]
    dataset = RLHFDataset(files, build_tokenizer(), CONFIG)
    batch = DataProto.from_single_dict(collate_fn([dataset[i] for i in range(len(dataset))])).non_tensor_batch
    assert len(batch["data_source"]) == 12
    for i, source in enumerate(batch["data_source"]):
        index = batch["extra_info"][i]["index"]
        truth = json.loads(batch["reward_model"][i]["ground_truth"])
        assert truth == (f"answer {index} 0" if source == "self/text/last" else f"label {index}")
        if top_k:
            distribution = batch["ntp_distribution"][i]
            expected = domain_file_row(make_answer(index, top_k=top_k)) if source == "self/text/last" else None
            assert distribution == expected
    assert ("ntp_distribution" in batch) == bool(top_k)


def domain_file_row(answer) -> dict:
    return {name: getattr(answer, name) for name in ("token_ids", "topk_ids", "topk_log_probs")}


def test_images_and_their_hf_feature_survive(make_png, make_answer, scripted, settings_for, tmp_path):
    prompts, out = tmp_path / "prompts.parquet", tmp_path / "self.parquet"
    images = [[{"bytes": make_png(56, 56 + 28 * i), "path": None}] for i in range(4)]
    rows = [{**data_prep_row(i), "images": images[i]} for i in range(4)]
    table = pa.Table.from_pylist(rows)
    features = datasets.Features.from_arrow_schema(table.schema)
    features["images"] = datasets.List(datasets.Image())
    datasets.Dataset(table).cast(features).to_parquet(prompts)
    file = open_prompts(prompts)
    replay(file, settings_for(file), out, lambda: scripted(make_answer), report=lambda _: None)

    loaded = [datasets.load_dataset("parquet", data_files=str(path))["train"] for path in (prompts, out)]
    assert loaded[1].features == loaded[0].features
    both = datasets.concatenate_datasets(loaded)
    assert [image.size for row in both for image in row["images"]] == [(56, 56 + 28 * i) for i in range(4)] * 2
