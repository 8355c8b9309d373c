"""The metrics of the paper's data sets are total: any text in, a value in range out, in bounded time.

Targets are those of the fuzzer (`tests/fuzz/targets.py`), here over random texts and over much of anything.
"""

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.objectives import get_objective, registered_objectives

FUZZ = runpy.run_path(str(Path(__file__).parents[1] / "fuzz" / "targets.py"))
TARGETS, CASES, OCR_TYPES = FUZZ["TARGETS"], FUZZ["CASES"], FUZZ["SCORES"]
BUILT_IN = set(registered_objectives())
LENGTH = 120_000  # characters, more than objectives read

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and null bytes included
PIECES = [
    *("<answer>", "</answer>", "</think>", "[", "]", "(", ")", "{", "}", ",", ", ", ":", '"', "'", "\n", " ", "="),
    *("[1, 2, 3, 4]", "(1,2),(3,4)", '[1,2,3,4,"a"]', "{'bbox': ", "'label': '", "1e999", "nan", "-", ".", "true"),
    *("B", "(B)", "B. ", "12", "1,234", "50%", "so ", "is ", "the", "none", "dont", "苹", "```json\n", "\n```", "null"),
    *('{"type": "', '"choices": [', '"orig_w": ', "\\boxed{", "\\text{", "\x00", "\ud800"),
]
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def test_every_objective_and_every_type_of_ocrbench_is_among_the_targets():
    assert {name for name, *_ in CASES} == BUILT_IN
    assert {row["type"] for name, _, _, row in CASES if name == "ocrbench_v2"} == set(OCR_TYPES)


@settings(max_examples=60, deadline=None)
@given(any_text | pieces)
def test_any_text(text):
    for _, target in TARGETS:
        target(text)


@settings(max_examples=60, deadline=None)
@given(json_values)
def test_any_json_in_place_of_truth_and_metadata(value):
    for name, target in TARGETS:
        if name.endswith(", data") or name.startswith("truth parser"):
            target(json.dumps(value))


FACTS = [
    "choices",
    "precision",
    "image_sizes",
    "orig_w",
    "orig_h",
    "in_w",
    "in_h",
    "bbox",
    "bbox_list",
    "content",
    "eval",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FACTS), json_values)
def test_any_value_of_a_fact(key, value):
    for name, target in TARGETS:
        if name.endswith(", data"):
            row = {"type": "text spotting en", "answer_type": "float", "question_type": "multi_choice", key: value}
            target(json.dumps(row))


HOSTILE = {
    name: piece * (LENGTH // len(piece))
    for name, piece in {
        "open brackets": "[",
        "open parentheses": "(",
        "open objects": "{",
        "open numbers": "[1",
        "open pairs": "[1,1",
        "open boxes": "[1,1,1,1",
        "open words": '[1,1,1,1,"',
        "points": "(1,2),",
        "boxes": "[1,2,3,4]",
        "words": '[1,2,3,4,"a"]',
        "labels": '{"label":"',
        "confidences": '{"confidence":1',
        "keys": "a:",
        "lists under keys": "a:[",
        "quoted keys": '"a":"',
        "equations": "a=",
        "spaces in brackets": "[ ",
        "spaces": " ",
        "lines": "\n",
        "digits": "1",
        "decimals": "1.1",
        "groups": "1,111",
        "exponents": "1e",
        "minus": "-",
        "dots": ".",
        "letters": "A ",
        "options": "(A)",
        "phrases": "so is ",
        "fences": "```json\n",
        "boxed": "\\boxed{",
        "texts": "\\text{",
        "commas": ",",
        "contractions": "dont ",
        "quotes": '"',
        "apostrophes": "'",
        "Chinese": "简答",
        "Chinese words": "世界 你好，",
        "cells": "<table><td>a",
        "rows": "<tr><td>",
        "tables": "<table>",
        "table cells": "<td>a</td>",
        "bold": "<b>",
        "spans": "<td colspan=9>",
        "columns": "|a",
        "table lines": "|a|b|\n",
        "headings": "# a\n",
        "one dictionary": "{'a':",
        "comments": "#",
        "null bytes": "\x00",
        "lone surrogates": "\ud800",
        "percent": "%",
    }.items()
}


@pytest.mark.parametrize("name", HOSTILE)
def test_much_of_anything(name):
    text = HOSTILE[name]
    for kind, target in TARGETS:
        if not kind.endswith(", data"):
            target(text)


def test_only_the_end_of_an_endless_answer_is_read():
    anls = get_objective("anls", tag=False, threshold=1.0)
    assert anls("x" * LENGTH, "x" * 100_000) == 1.0
    assert get_objective("iou", tag=False)("[1, 1, 2, 2]" + " " * LENGTH, "[1, 1, 2, 2]") == 0.0
