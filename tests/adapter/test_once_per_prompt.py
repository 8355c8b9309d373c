"""What the agent loop asks again is answered from memory, and what differs in anything is not."""

import threading
from concurrent.futures import ThreadPoolExecutor

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from transformers import BatchFeature, Qwen2VLImageProcessor

from recap_verl.lab.tiny_vl import build_model, build_processor
from recap_verl.verl_adapter.cpu.once_per_prompt import (
    Kept,
    build_agent_loops_directly,
    keep_processed_inputs,
    see_equal_pictures_once,
)


def picture(seed: int, mode: str = "RGB", side: int = 56) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


class Processor:
    """Counts how often it prepares images."""

    def __init__(self):
        self.images, self.calls, self.lock = Qwen2VLImageProcessor(), 0, threading.Lock()

    def __call__(self, text, images, videos=None, audio=None, **options):
        with self.lock:
            self.calls += 1
        prepared = self.images(images, **options) if images else {}
        return BatchFeature({"input_ids": [len(one) for one in text], **prepared})


@pytest.fixture
def build():
    from verl.utils.tokenizer import tokenizer

    keep_processed_inputs()
    return tokenizer.build_multimodal_processor_inputs


@pytest.fixture
def processor():
    return Processor()


def test_rollouts_of_a_prompt_are_prepared_once_and_as_without_it(build, processor):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: build(processor, text=["x"], images=[picture(0)]), range(16)))
    expected = build.__wrapped__(Processor(), text=["x"], images=[picture(0)])
    assert processor.calls == 1
    for one in found:
        assert type(one) is type(expected) and set(one) == set(expected)
        assert torch.equal(one["pixel_values"], expected["pixel_values"]) and one["input_ids"] == [1]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": ["xy"]},
        {"images": [picture(1)]},
        {"images": [picture(0, "L")]},
        {"images": [picture(0, side=84)]},
        {"images": [picture(0), picture(0)]},
        {"mm_processor_kwargs": {"do_normalize": False}},
        {"return_tensors": "np"},
    ],
)
def test_what_differs_is_prepared_anew(build, processor, changed):
    inputs = {"text": ["x"], "images": [picture(0)]}
    build(processor, **inputs)
    found, expected = build(processor, **{**inputs, **changed}), build.__wrapped__(Processor(), **{**inputs, **changed})
    assert processor.calls == 2
    for name in expected:
        assert np.array_equal(np.asarray(found[name]), np.asarray(expected[name]))


def test_another_processor_is_asked_itself(build, processor):
    other = Processor()
    for one in (processor, other):
        build(one, text=["x"], images=[picture(0)])
    assert (processor.calls, other.calls) == (1, 1)


def test_what_a_caller_removes_is_there_for_the_next(build, processor):
    build(processor, text=["x"], images=[picture(0)]).pop("pixel_values")
    assert "pixel_values" in build(processor, text=["x"], images=[picture(0)]) and processor.calls == 1


@pytest.mark.parametrize(
    "inputs",
    [
        {"images": [torch.zeros(3, 56, 56, dtype=torch.uint8)]},
        {"images": None},
        {"images": [picture(0)], "videos": [[picture(0)]]},
        {"images": [picture(0)], "audio": [np.zeros(3)]},
    ],
)
def test_other_inputs_are_passed_on(build, processor, inputs):
    for _ in range(2):
        build(processor, text=["x"], **inputs)
    assert processor.calls == 2


def test_the_oldest_answers_go_first_and_memory_is_bounded():
    kept, asked = Kept(most=3 * 40), []

    def get(key: int) -> int:
        answer = BatchFeature({"pixel_values": torch.full((10,), float(key))})
        return int(kept.get(bytes([key]), lambda: asked.append(key) or answer)["pixel_values"][0])

    assert [get(key) for key in (0, 1, 2, 0, 3, 2, 0)] == [0, 1, 2, 0, 3, 2, 0]
    assert asked == [0, 1, 2, 3, 0]


def test_an_answer_larger_than_all_memory_is_given_nevertheless():
    kept = Kept(most=8)
    assert kept.get(b"", lambda: BatchFeature({"pixel_values": torch.ones(10)}))["pixel_values"].sum() == 10


def test_verls_agent_loop_asks_it(build):
    from verl.experimental.agent_loop import agent_loop
    from verl.utils.tokenizer import continuous_token

    assert build.__wrapped__.__module__ == "verl.utils.tokenizer.tokenizer"
    assert agent_loop.build_multimodal_processor_inputs is continuous_token.build_multimodal_processor_inputs is build


class Loop:
    def __init__(self, **settings):
        self.settings = settings


class TestBuilding:
    TARGET = f"{__name__}.Loop"

    @pytest.fixture(autouse=True)
    def _mended(self):
        build_agent_loops_directly()
        build_agent_loops_directly()

    def test_a_class_alone_is_called_with_what_it_is_given(self):
        tools = [object()]
        loop = hydra.utils.instantiate(config={"_target_": self.TARGET}, tools=tools)
        assert type(loop).__name__ == "Loop" and loop.settings["tools"] is tools

    @pytest.mark.parametrize("wrapped", [dict, OmegaConf.create])
    def test_a_configuration_with_settings_is_merged_by_hydra(self, wrapped):
        loop = hydra.utils.instantiate(config=wrapped({"_target_": self.TARGET, "turns": {"most": 3}}), name="x")
        assert isinstance(loop.settings["turns"], DictConfig)
        assert (loop.settings["turns"].most, loop.settings["name"]) == (3, "x")

    def test_options_of_hydra_are_hydras(self):
        partial = hydra.utils.instantiate(config={"_target_": self.TARGET}, _partial_=True, name="x")
        assert partial().settings == {"name": "x"}

    def test_hydras_errors_stay(self):
        with pytest.raises(Exception, match="nowhere"):
            hydra.utils.instantiate(config={"_target_": "nowhere.Loop"})


# ------------------------------------------------------------------- the vision tower


def gradients(tower, pixels, grids, weights) -> dict[str, torch.Tensor]:
    """Of a loss that weighs every token of the tower's output."""
    tower.zero_grad()
    (tower(pixels, grid_thw=grids).pooler_output * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in tower.named_parameters()}


@pytest.mark.parametrize("order", [[0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1], [0]])
def test_equal_pictures_are_seen_once_with_the_gradient_of_all(monkeypatch, order):
    model = build_model(build_processor().tokenizer)
    tower = model.model.visual
    forward = type(tower).forward
    monkeypatch.setattr(type(tower), "forward", getattr(forward, "__wrapped__", forward))
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 16, 3 * 2 * 14 * 14, generator=generator)
    pixels, grids = pictures[order].flatten(0, 1), torch.tensor([[1, 4, 4]] * len(order))
    weights = torch.randn(4 * len(order), 128, generator=generator)
    expected = gradients(tower, pixels, grids, weights)
    see_equal_pictures_once()
    see_equal_pictures_once()
    patches = []
    tower.patch_embed.register_forward_hook(lambda _module, inputs, _output: patches.append(len(inputs[0])))
    found = gradients(tower, pixels, grids, weights)
    assert patches == [16 * len(set(order))]
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def test_importing_verl_mends_the_tower():
    import verl  # noqa: F401
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    assert hasattr(modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel.forward, "__wrapped__")
