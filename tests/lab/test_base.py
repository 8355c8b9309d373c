"""The base model: its tokens are those that verl makes, it learns, and it is trained once."""

import functools
import json

import pytest
import torch
from omegaconf import OmegaConf

from recap_verl.domains import Domains
from recap_verl.lab.arms import ARMS, recap_section
from recap_verl.lab.base.__main__ import make_base
from recap_verl.lab.base.training import Schooling
from recap_verl.lab.data import tables
from recap_verl.lab.fast.engine import FastEngine
from recap_verl.lab.fast.vl_policy import VLPolicy
from recap_verl.lab.study import Study
from recap_verl.verl_adapter.cpu.once_per_prompt import seen_once

SHORT = Schooling(steps=30, batch_size=16, warm_up=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "base"
    assert make_base(folder, SHORT)
    return folder


@pytest.fixture(scope="module")
def rows():
    return list(tables.rows(tables.val_items(0), "val"))


def test_it_is_trained_once_and_the_same_settings_give_the_same_weights(base, tmp_path):
    assert not make_base(base, SHORT)
    with pytest.raises(FileExistsError, match="made with other settings or code"):
        make_base(base, Schooling(steps=31, batch_size=16, warm_up=5))
    assert make_base(tmp_path / "again", SHORT)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    about = json.loads((base / "base.json").read_text())
    assert 1e6 < about["parameters"] < 4e6 and about["last_loss"] < 5
    assert {"lab/facts/greedy/exact_match", "lab/ground/sampled/iou"} <= about["scores"].keys()


def test_prompts_are_token_for_token_what_the_processor_makes_of_the_chat(base, rows):
    policy = VLPolicy(base)
    row = next(row for row in rows if row["images"])
    ids = policy.prompt_ids(row)
    text = policy.tokenizer.decode(ids)
    assert text.startswith("<|im_start|>user\n<|vision_start|>" + "<|image_pad|>" * 9 + "<|vision_end|>")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert policy.decode(policy.encode("<answer>[7, 14]</answer>")) == "<answer>[7, 14]</answer>"


@torch.no_grad()
def test_sampled_tokens_have_the_log_probabilities_of_a_full_pass(base, rows):
    """Generation with a cache, left padding and images beside rows without, against one forward pass of each row."""
    policy = VLPolicy(base)
    mixed = [*rows[:3], *rows[-3:]]
    greedy = policy.sample(mixed, 0.0, torch.Generator().manual_seed(0), 8)
    for row, response in zip(mixed, greedy, strict=True):
        alone = policy.distributions([row], [response])[0]
        allowed = alone.index_fill(1, torch.tensor(policy.never), -torch.inf)
        assert torch.equal(allowed.argmax(dim=1), response)
    together = policy.log_probs(mixed, greedy)
    alone = [policy.log_probs([row], [response])[0] for row, response in zip(mixed, greedy, strict=True)]
    for whole, single in zip(together, alone, strict=True):
        assert torch.allclose(whole[: len(single)], single, atol=1e-5)


def test_a_picture_is_seen_once_for_all_responses_and_nothing_changes(base, rows):
    once, plain = VLPolicy(base), VLPolicy(base)
    seen = []
    forward = plain.model.model.visual.forward.args[0]
    # Where verl has been imported, its towers see a picture once as well.
    forward = plain.model.model.visual.forward = getattr(forward, "__wrapped__", forward)
    shared = once.model.model.visual
    shared.forward = functools.partial(
        seen_once, lambda pixels, **options: seen.append(len(options["grid_thw"])) or forward(pixels, **options)
    )
    pictures = [row for row in rows if row["images"]]
    repeated = [row for row in (pictures[0], pictures[1], pictures[0]) for _ in range(3)] + rows[-2:]
    responses = [once.encode(f"say {index}") for index in range(len(repeated))]
    with torch.no_grad():
        assert torch.equal(once.log_probs(repeated, responses), plain.log_probs(repeated, responses))
    assert seen == [2]


def test_pictures_of_several_sizes_are_passed_on(base):
    grids = torch.tensor([[1, 6, 6], [1, 2, 2]])
    pixels = torch.zeros(40, 8)
    assert seen_once(lambda values, grid_thw: (values, grid_thw), pixels, grids) == (pixels, grids)


def test_the_fast_engine_trains_it(base, rows):
    study = Study(steps=2, prompts=6, rollouts=3, max_response_length=8, validate_every=2)
    train = [row for row in rows if row["data_source"] in ("lab/reason", "lab/ground", "lab/ocr")]
    config = OmegaConf.create({"recap": recap_section(ARMS["recap"])})
    engine = FastEngine(VLPolicy(base), None, train, rows[::20], Domains(tables.DOMAINS), config, study, 0)
    records = list(engine.run())
    assert {step for step, *_ in records} == {0, 1, 2}
    names = {(name, metric) for _, name, _, metric, _ in records}
    assert {
        ("ocr", "loss/ntp"),
        ("ground", "reward/iou"),
        ("", "weight/think_format"),
        ("lab/facts", "exact_match"),
    } <= names
