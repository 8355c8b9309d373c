"""Converters are total: any text in place of a row's gives a row or a reason, in bounded time.

So are readers of files: rows, or one error.
"""

import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[1] / "fuzz"
CONVERTERS = runpy.run_path(str(FUZZ / "converters.py"))
READERS = runpy.run_path(str(FUZZ / "readers.py"))
PIECES = [
    "<answer>",
    "</answer>",
    "[",
    "]",
    "(",
    "{",
    "}",
    ",",
    ":",
    "'",
    '"',
    "1",
    "-1",
    ".5",
    "1e999",
    "<image1>",
    "<image>",
]
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join)


@pytest.fixture(scope="module")
def targets():
    return CONVERTERS["converter_targets"]()


@pytest.fixture(scope="module")
def readers():
    return READERS["reader_targets"]()


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=())) | pieces)
def test_any_text(targets, text):
    for _, target in targets:
        target(text)


@pytest.mark.parametrize("piece", PIECES)
def test_much_of_anything(targets, piece):
    # Each further piece puts the text elsewhere in the row.
    for count in range(100_000 // len(piece), 100_000 // len(piece) + 12):
        for _, target in targets:
            target(piece * count)


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=())) | pieces)
def test_any_file(readers, text):
    for _, target in readers:
        target(text)


@pytest.mark.parametrize("piece", [*PIECES, "\x00", '{"a":1}\n', "[1],", '{"a":', "a,b\n", "\ud800"])
def test_a_file_of_much_of_anything(readers, piece):
    for _, target in readers:
        target(piece * (100_000 // len(piece)))
