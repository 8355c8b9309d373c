"""Sizes that Qwen's processors give images, and coordinates carried from one frame to another."""

import json
import random

import numpy as np
import pytest
from qwen_vl_utils.vision_process import smart_resize as qwen_smart_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as transformers_smart_resize

from recap_verl.objectives.facts import fact
from recap_verl.objectives.frames import ResizeRule, scale_between, smart_resize


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((28, 28), ResizeRule(), (56, 56)),  # 784 pixels are under 4 tokens: doubled
        ((600, 1000), ResizeRule(), (588, 1008)),  # 21.4 and 35.7 patches
        ((42, 70), ResizeRule(), (56, 56)),  # 1.5 and 2.5 are rounded to even
        ((480, 640), ResizeRule(max_pixels=401_408), (476, 644)),
        ((1080, 1920), ResizeRule(max_pixels=401_408), (448, 840)),  # the paper's limit: scaled by 1 / 2.273
        ((480, 640), ResizeRule(factor=32), (480, 640)),
        ((20, 20), ResizeRule(), (56, 56)),
        ((4480, 4480), ResizeRule(), (3584, 3584)),  # 16,384 tokens
    ],
)
def test_by_hand(size, rule, expected):
    assert smart_resize(*size, rule) == expected


def test_ten_thousand_sizes_as_in_transformers():
    rng = random.Random(0)
    for _ in range(10_000):
        height, width = rng.randint(15, 3000), rng.randint(15, 3000)
        rule = ResizeRule(rng.randint(784, 100_000), rng.randint(100_000, 2_000_000))
        theirs = transformers_smart_resize(height, width, 28, rule.min_pixels, rule.max_pixels)
        assert smart_resize(height, width, rule) == theirs


def test_ten_thousand_sizes_as_in_qwen_vl_utils():
    """verl resizes with this one; it differs from the former for sides that round to zero patches."""
    rng = random.Random(1)
    for _ in range(10_000):
        factor = rng.choice((28, 32))
        height = rng.randint(1, 300)
        width = rng.randint(max(1, height // 150), height * 150)
        rule = ResizeRule(4 * factor**2, 16_384 * factor**2, factor)
        assert smart_resize(height, width, rule) == qwen_smart_resize(height, width, factor)


@pytest.mark.parametrize(
    ("size", "rule"),
    [
        ((10, 2001), ResizeRule()),
        ((0, 10), ResizeRule()),
        ((10, 10), ResizeRule(10, 5)),
        ((9, 9), ResizeRule(factor=0)),
    ],
)
def test_sizes_that_cannot_be(size, rule):
    with pytest.raises(ValueError, match=r"resized|satisfies"):
        smart_resize(*size, rule)


ROW = {"orig_w": 500, "orig_h": 300}  # the model sees 504 x 308


@pytest.mark.parametrize(
    ("frame", "target", "scale"),
    [
        ("original", "unit", (1 / 500, 1 / 300)),
        ("thousand", "original", (0.5, 0.3)),
        ("unit", "thousand", (1000, 1000)),
        ("resized", "original", (500 / 504, 300 / 308)),
        ("resized", "thousand", (1000 / 504, 1000 / 308)),
    ],
)
def test_scales(frame, target, scale):
    assert scale_between(frame, target, ROW, ResizeRule()) == pytest.approx(scale)
    inverse = scale_between(target, frame, ROW, ResizeRule())
    assert inverse == pytest.approx((1 / scale[0], 1 / scale[1]))


@pytest.mark.parametrize(
    "row",
    [
        {"image_sizes": [{"width": 500, "height": 300, "original_width": 1000, "original_height": 600}]},
        {"image_sizes": np.array([{"width": 500, "height": 300}, {"width": 1, "height": 1}])},
        {"metadata": json.dumps(ROW)},
        {"orig_w": 500.0, "orig_h": np.int64(300), "image_sizes": [{"width": 1, "height": 1}]},
    ],
)
def test_where_the_size_is_found(row):
    assert scale_between("resized", "original", row, ResizeRule()) == pytest.approx((500 / 504, 300 / 308))


def test_the_resized_size_may_be_given():
    assert scale_between("resized", "original", {**ROW, "in_w": 250, "in_h": 100}, ResizeRule()) == (2, 3)


def test_relative_and_equal_frames_need_no_size():
    assert scale_between("unit", "thousand", {}, ResizeRule()) == (1000, 1000)
    assert scale_between("resized", "resized", {}, ResizeRule()) == (1, 1)


def test_facts_come_from_the_row_or_from_its_metadata():
    assert fact({"eval": "x", "metadata": '{"eval": "y"}'}, "eval") == "x"
    assert fact({"eval": None, "metadata": json.dumps({"eval": "y"})}, "eval") == "y"
    assert fact({"metadata": {"eval": "y"}}, "eval") == "y"
    for metadata in (None, "", "{", "[1]", "[" * 100_000, 3):
        assert fact({"metadata": metadata}, "eval") is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "rescaling boxes needs the size of the image"),
        ({"image_sizes": []}, "rescaling boxes needs the size of the image"),
        ({"image_sizes": [{"width": 0, "height": 1}]}, "'width' must be a number of pixels, not 0"),
        ({"image_sizes": [{"width": 5}]}, "'height' must be a number of pixels, not None"),
        ({"orig_w": 5}, "'orig_h' must be a number of pixels, not None"),
        ({"orig_w": 5, "orig_h": "5"}, "'orig_h' must be a number of pixels, not '5'"),
        ({"in_w": 5}, "'in_h' must be"),
        ({"orig_w": float("inf"), "orig_h": 1}, "'orig_w' must be"),
        ({"orig_w": float("nan"), "orig_h": 1}, "'orig_w' must be"),
        ({"orig_w": 1000, "orig_h": 1}, "aspect ratio"),
    ],
)
def test_rows_that_do_not_tell_their_size(row, message):
    with pytest.raises(ValueError, match=message):
        scale_between("resized", "unit", row, ResizeRule())


def test_unknown_frames():
    with pytest.raises(ValueError, match="unknown frame 'pixels'; frames are original, resized, unit, thousand"):
        scale_between("pixels", "unit", ROW, ResizeRule())
