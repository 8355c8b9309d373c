"""Format objectives and exact match, by hand."""

import pytest

from recap_verl.objectives import get_objective


@pytest.mark.parametrize(
    ("response", "lenient", "strict"),
    [
        ("<think>a</think><answer>b</answer>", 1, 0),
        ("<think>a</think> \n\n <answer>b</answer>", 1, 0),
        ("\n <think>a</think><answer>b</answer> \n", 1, 0),
        ("<think>\na\n</think>\n<answer>\nb\n</answer>", 1, 1),
        ("<think>\na\nb\n</think><answer>\nb\n</answer>\n", 1, 1),
        ("<think>\na\n</think>\n<answer>b</answer>", 1, 0),
        ("<think>\n</think>\n<answer>\nb\n</answer>", 1, 0),
        ("<think></think><answer></answer>", 1, 0),
        ("<think>a < b > c</think><answer>b</answer>", 1, 0),
        ("", 0, 0),
        ("<answer>b</answer>", 0, 0),
        ("<think>a</think>", 0, 0),
        ("<answer>b</answer><think>a</think>", 0, 0),
        ("<think>a</think>so<answer>b</answer>", 0, 0),
        ("Hm. <think>a</think><answer>b</answer>", 0, 0),
        ("<think>a</think><answer>b</answer>.", 0, 0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0, 0),
        ("<think>a<think>b</think></think><answer>b</answer>", 0, 0),
        ("<think>a<answer>b</think></answer>", 0, 0),
        ("<think>a</think><answer>b", 0, 0),
        ("<Think>a</Think><answer>b</answer>", 0, 0),
    ],
)
def test_think_format(response, lenient, strict):
    assert get_objective("think_format")(response, None, {}) == lenient
    assert get_objective("think_format", strict=True)(response, None, {}) == strict


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<answer>[1, 2, 3, 4]</answer>", 1),
        ("\n<answer>\nx\n</answer> ", 1),
        ("<think>a</think><answer>b</answer>", 0),
        ("<answer><think>a</think>b</answer>", 0),
        ("<answer>b</think></answer>", 0),
        ("<answer>a</answer><answer>b</answer>", 0),
        ("It is <answer>b</answer>", 0),
        ("<answer>b</answer> I think", 0),
        ("</answer>b<answer>", 0),
        ("b", 0),
        ("", 0),
    ],
)
def test_answer_format(response, expected):
    assert get_objective("answer_format")(response, None, {}) == expected


@pytest.mark.parametrize(
    ("response", "truth", "options", "expected"),
    [
        ("<answer>red car</answer>", "red car", {}, 1),
        ("<answer> red\n car </answer>", "red car", {}, 1),
        ("<answer> red car</answer>", "red car", {"normalize_whitespace": False}, 0),
        ("<answer>Red car</answer>", "red car", {}, 0),
        ("<answer>Red car</answer>", "red car", {"normalize_case": True}, 1),
        ("<answer>red car!</answer>", "red car", {}, 0),
        ("<answer>“red” car!</answer>", "red car", {"normalize_punctuation": True}, 1),
        ("<answer>red car</answer>", "red cars", {}, 0),
        ("<answer>a</answer><answer>b</answer>", "b", {}, 1),
        ("<answer>blue</answer>", '["red", "blue"]', {}, 1),
        ("<answer>blue</answer>", ["red", "blue"], {}, 1),
        ("<answer>7</answer>", 7, {}, 1),
        ("red car", "red car", {}, 0),
        ("red car", "red car", {"tag": False}, 1),
        ("<answer>red car</answer>", "red car", {"tag": False}, 0),
        ("<answer>red car", "red car", {}, 0),
        ("a blue one", '["red", "blue"]', {"tag": False, "template": "a {} one"}, 1),
        ("blue", '["red", "blue"]', {"tag": False, "template": "a {} one"}, 0),
    ],
)
def test_exact_match(response, truth, options, expected):
    assert get_objective("exact_match", **options)(response, truth, {}) == expected
