"""Images are prepared once for all rollouts of a prompt, and differently wherever anything differs."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessor

from recap_verl.verl_adapter.cpu.image_memo import KEPT, ImageMemo, share_image_processing


def picture(seed: int, mode: str = "RGB", side: int = 56) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


class Counted:
    def __init__(self):
        self.original, self.calls, self.lock = Qwen2VLImageProcessor(), 0, threading.Lock()
        self.merge_size = self.original.merge_size

    def __call__(self, images, **options):
        with self.lock:
            self.calls += 1
        return self.original(images, **options)


@pytest.fixture
def memo():
    return ImageMemo(Counted())


def test_the_same_images_are_prepared_once_and_as_without_it(memo):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: memo([picture(0)], return_tensors="pt"), range(16)))
    expected = Qwen2VLImageProcessor()([picture(0)], return_tensors="pt")
    assert memo.calls == 1
    for one in found:
        assert type(one) is type(expected) and set(one) == set(expected)
        assert all(torch.equal(one[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("images", "options"),
    [
        ([picture(1)], {}),
        ([picture(0, "L")], {}),
        ([picture(0, side=84)], {}),
        ([picture(0), picture(0)], {}),
        ([picture(0)], {"do_normalize": False}),
        ([picture(0)], {"return_tensors": "np"}),
    ],
)
def test_what_differs_is_prepared_anew(memo, images, options):
    memo([picture(0)], return_tensors="pt")
    options = {"return_tensors": "pt", **options}
    found, expected = memo(images, **options), Qwen2VLImageProcessor()(images, **options)
    assert memo.calls == 2
    for name in expected:
        assert np.array_equal(np.asarray(found[name]), np.asarray(expected[name]))


def test_what_a_caller_removes_is_there_for_the_next(memo):
    memo([picture(0)], return_tensors="pt").pop("pixel_values")
    assert "pixel_values" in memo([picture(0)], return_tensors="pt") and memo.calls == 1


def test_tensors_are_passed_on_and_nested_lists_are_looked_into(memo):
    tensor = torch.zeros(3, 56, 56, dtype=torch.uint8)
    for _ in range(2):
        memo([tensor], return_tensors="pt")
    assert memo.calls == 2
    for _ in range(2):
        memo([[picture(0)]], return_tensors="pt")
    assert memo.calls == 3


def test_the_oldest_images_go_first(memo):
    for seed in range(KEPT + 1):
        memo([picture(seed)], return_tensors="pt")
    memo([picture(1)], return_tensors="pt")
    assert memo.calls == KEPT + 1
    memo([picture(0)], return_tensors="pt")
    assert memo.calls == KEPT + 2


def test_it_is_the_image_processor_to_everybody_else():
    memo = ImageMemo(Qwen2VLImageProcessor())
    assert isinstance(memo, Qwen2VLImageProcessor) and memo.merge_size == 2
    for again in (copy.copy(memo), copy.deepcopy(memo), pickle.loads(pickle.dumps(memo))):
        assert isinstance(again, ImageMemo)
        assert torch.equal(
            again([picture(0)], return_tensors="pt").pixel_values, memo([picture(0)], return_tensors="pt").pixel_values
        )


def test_verls_agent_loop_asks_it():
    from verl.experimental.agent_loop import agent_loop
    from verl.utils.tokenizer import continuous_token, tokenizer

    share_image_processing()
    build = tokenizer.build_multimodal_processor_inputs
    assert build.__wrapped__.__module__ == "verl.utils.tokenizer.tokenizer"
    assert agent_loop.build_multimodal_processor_inputs is continuous_token.build_multimodal_processor_inputs is build

    class Processor:
        def __init__(self):
            self.image_processor = Counted()

        def __call__(self, text, images, **options):
            return self.image_processor(images, return_tensors="pt")

    processor = Processor()
    for _ in range(3):
        build(processor, text=["x"], images=[picture(0)])
    assert processor.image_processor.calls == 1
