"""Every built-in objective is total: any text in, 0 or 1 out, in bounded time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.objectives import collect_events, get_objective, last_answer, registered_objectives
from recap_verl.objectives.mathtext import last_boxed, tidied
from recap_verl.objectives.tags import answer_block_only, think_answer_blocks

OBJECTIVES = [
    get_objective("accuracy", timeout=0.5),
    get_objective("think_format"),
    get_objective("think_format", strict=True),
    get_objective("answer_format"),
    get_objective("exact_match", normalize_case=True, normalize_punctuation=True),
    get_objective("exact_match", tag=False, normalize_whitespace=False),
]
MEGABYTE = 1_000_000

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and null bytes included
pieces = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", "\n", " ", "$", "A", "B.", "12", "x", "+", "=", "^"]
    )
    | st.sampled_from(["\\frac{", "}", "{", "(", ")", "\\boxed{", "\\text{", "\x00", "\ud800", "1/2", "%", "cat", "√"])
    | st.text(max_size=5),
    max_size=25,
).map("".join)
responses = any_text | pieces | pieces.map(lambda content: f"<answer>{content}</answer>")
truths = st.sampled_from(["12", "B", "x+1", "cat", "[0, 1]", '["a", "1/2"]', r"\frac{1}{2}", "12 apples"]) | pieces


def test_the_list_above_is_complete():
    assert {objective.name for objective in OBJECTIVES} <= set(registered_objectives())
    assert {"accuracy", "think_format", "answer_format", "exact_match"} == {objective.name for objective in OBJECTIVES}


@settings(max_examples=250, deadline=None)
@given(responses, truths)
def test_any_text_scores_zero_or_one(response, truth):
    if truth.strip() == "[]":
        return
    for objective in OBJECTIVES:
        assert objective(response, truth, {}) in (0.0, 1.0)


@settings(deadline=None)
@given(pieces)
def test_the_truth_as_answer_is_right(truth):
    if not tidied(truth) or '"' in truth or "answer>" in truth or "boxed" in truth or tidied(truth) in "ABCDEFGH":
        return
    assert get_objective("accuracy", timeout=0)(f"<answer>{truth}</answer>", truth, {}) == 1.0


@settings(deadline=None)
@given(st.text(), st.text(), st.sampled_from(["", " ", "\n\n"]))
def test_blocks_are_read_as_they_were_written(think, answer, space):
    if "<" in think + answer:
        return
    response = f"<think>{think}</think>{space}<answer>{answer}</answer>"
    assert think_answer_blocks(response) == (think, answer)
    assert last_answer(response) == answer
    assert answer_block_only(response) is None
    assert answer_block_only(f"{space}<answer>{answer}</answer>") == answer


@settings(deadline=None)
@given(st.text(st.sampled_from("{}ab\\"), max_size=30))
def test_last_boxed_is_balanced(text):
    content = last_boxed(f"\\boxed{{1}} \\boxed{{{text}")
    if content is not None:
        assert content.count("{") == content.count("}")
        assert (text + "}").startswith(content + "}")


HOSTILE = {
    "nested think": "<think>" * (MEGABYTE // 7),
    "think pairs": "<think></think>" * (MEGABYTE // 15),
    "nested answers": "<answer>" * 60_000 + "</answer>" * 60_000,
    "open tags": "<" * MEGABYTE,
    "null bytes": "\x00" * MEGABYTE,
    "lone surrogates": "\ud800" * MEGABYTE,
    "open braces": "{" * MEGABYTE,
    "parentheses": "(" * MEGABYTE + ")" * MEGABYTE,
    "fractions": r"\frac{1}{" * 100_000,
    "texts": r"\text{" * 150_000,
    "boxes": r"\boxed{" * 150_000,
    "spaces": " " * MEGABYTE + "x",
    "text, spaces": r"\text" + " " * MEGABYTE,
    "dollars": "$" * MEGABYTE,
    "option letters": "A " * (MEGABYTE // 2),
    "articles": "A a " * (MEGABYTE // 4),
    "digits": "1" * MEGABYTE,
    "digit groups": "1 111" * (MEGABYTE // 5),
    "quotes": '"' * MEGABYTE,
    "marks": "!" * MEGABYTE,
}


@pytest.mark.parametrize("form", ["{}", "<answer>{}</answer>", "<think>{}</think><answer>{}</answer>"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_anything(name, form):
    response = form.replace("{}", HOSTILE[name])
    for truth in ("x+1", "B", "some words"):
        with collect_events() as events:
            for objective in OBJECTIVES:
                assert objective(response, truth, {}) in (0.0, 1.0)
        assert "symbolic_cutoff" not in events


@pytest.mark.parametrize("name", HOSTILE)
def test_the_same_just_short_enough_to_be_parsed(name):
    with collect_events() as events:
        assert OBJECTIVES[0](f"<answer>{HOSTILE[name][:990]}</answer>", "x+1", {}) in (0.0, 1.0)
    assert set(events) <= {"symbolic_cutoff"}


@pytest.mark.parametrize("power", ["9^{9^{9^{9}}}", "10^{10^{10}}", "99999999!"])
def test_huge_numbers_are_cut_off(power):
    with collect_events() as events:
        assert OBJECTIVES[0](f"<answer>{power}</answer>", "x+1", {}) == 0.0
    assert events == {"symbolic_cutoff": 1}
