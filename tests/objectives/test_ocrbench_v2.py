"""OCRBench v2, by hand, type by type; the parsers of fields and of spotted words."""

import json

import numpy as np
import pytest

from recap_verl.objectives import ObjectiveError, get_objective
from recap_verl.objectives.fields import read_fields, true_fields
from recap_verl.objectives.ocrbench_v2 import SCORES
from recap_verl.objectives.spotting import MAX_WORDS, read_words, spotting_score

LONG = "the quick brown fox jumps"
BOX = [10, 10, 30, 30]
AT_BOX = {"bbox": BOX}
TOTAL = json.dumps([json.dumps({"total": ["30", "30.0"]})])

TABLE = "<table><tr><td>ax</td></tr><tr><td>c</td></tr></table>"
HTML, MARKDOWN = {"question": "Parse into HTML."}, {"question": "Give it as Markdown."}
PAGE = "six words stand on this page"
# One chunk of all words (Lavie and Agarwal 2007, section 2): 1 - 0.5 (chunks / words)^3.
METEOR_OF_SAME_PAGE = 1 - 0.5 / 6**3
# BLEU of a text without n-grams of two and more words is as good as 0.
PAGE_OF_ONE_WORD = (0 + 0.5 + 1 + 1) / 4


def score(kind, answer, truth, **row):
    return get_objective("ocrbench_v2")(
        f"<answer>{answer}</answer>", truth, {"metadata": json.dumps({"type": kind, **row})}
    )


@pytest.mark.parametrize(
    ("kind", "answer", "truth", "row", "expected"),
    [
        ("text recognition en", "It says OPEN.", '["open"]', {"eval": "None"}, 1.0),
        ("text recognition en", "it says open", '["OPEN "]', {}, 1.0),
        ("text recognition en", LONG.upper(), [LONG], {}, 1.0),
        ("text recognition en", "shut", '["open", "shut"]', {}, 1.0),
        ("text recognition en", "ope n", '["open"]', {}, 0.0),
        ("APP agent en", LONG, [LONG], {}, 1.0),
        ("APP agent en", f"xx {LONG}", [LONG], {}, 25 / 28),  # five words are no longer searched for
        ("APP agent en", LONG[:14], [LONG], {}, 14 / 25),
        ("APP agent en", LONG[:12], [LONG], {}, 0.0),
        ("science QA en", "(B)", '["B"]', {"eval": "multiple choice"}, 1.0),
        ("science QA en", "B. cat", '["B"]', {"eval": "multiple choice"}, 0.0),
        ("math QA en", "open", '["Open"]', {"eval": "case sensitive"}, 0.0),
        ("math QA en", "so Open", '["Open"]', {"eval": "case sensitive"}, 1.0),
        ("cognition VQA cn", "是 苹 果", '["苹果"]', {}, 1.0),
        ("cognition VQA cn", "a,b,c,x", '["a,b,c,d"]', {}, 6 / 7),  # four parts
        ("cognition VQA cn", "ABC", '["a b c"]', {}, 1.0),
        ("cognition VQA cn", "abc", '["ABC"]', {}, 1.0),
        ("reasoning VQA cn", "B", '["B"]', {"eval": "multiple choice"}, 1.0),
        ("text counting en", "there are 8", '["10"]', {"eval": "regression"}, 0.8),
        ("text counting en", "10", '["10"]', {"eval": "regression"}, 1.0),
        ("text counting en", "5", '["10"]', {"eval": "regression"}, 0.0),  # not above 0.5
        ("text counting en", "11", '["20"]', {"eval": "regression"}, 0.55),
        ("text counting en", "8", '["10", "40"]', {"eval": "regression"}, 0.8),  # the best truth
        ("text counting en", "20", '["10"]', {"eval": "regression"}, 0.0),
        ("text counting en", "0", '["1"]', {"eval": "regression"}, 0.0),
        ("text counting en", "9" * 5000, '["10"]', {"eval": "regression"}, 0.0),
        ("text counting en", "I count 3", '["3"]', {"eval": "exact match"}, 1.0),
        ("text counting en", "three", '["THREE", "3"]', {"eval": "exact match"}, 1.0),
        ("formula recognition en", "x", '["y", "x"]', {}, 1.0),
        ("formula recognition en", "x ^ 2 + 1 = 0", '["x^2+1"]', {}, 1.0),
        ("formula recognition en", "x^3", '["x^2"]', {}, 0.0),
        ("formula recognition cn", r"\text{面积}=2", '["面积 = 2"]', {}, 1.0),
        ("formula recognition en", r"\text{a}=2", '["a=2"]', {}, 0.0),
        ("handwritten answer extraction cn", "答案是A、B、C", '["ABC"]', {"question": "选择题"}, 1.0),
        ("handwritten answer extraction cn", "A B", '["ABC"]', {"question": "选择题"}, 0.0),
        ("text grounding en", "It is at (10, 10, 30, 20).", '["10", "10", "30", "30"]', {}, 0.5),
        ("text grounding en", "[10, 10, 30, 30]", BOX, {}, 1.0),
        ("text grounding en", "[1, 1, 2, 2] [10, 10, 30, 30] [10, 10, 2000, 30]", BOX, {}, 1.0),
        ("text grounding en", "[0, 0, 1000, 500]", [0, 0, 1000, 1000], {}, 0.5),
        ("text grounding en", "nowhere", BOX, {}, 0.0),
        ("VQA with position en", '{"answer": "open", "bbox": [10, 10, 30, 20]}', '["open"]', AT_BOX, 0.75),
        ("VQA with position en", "{'answer': 'shut', 'bbox': [10, 10, 30, 30]}", '["open"]', AT_BOX, 0.5),
        ("VQA with position en", "open", '["open"]', AT_BOX, 0.0),
        ("key information extraction en", '{"total": "30", "date": "x"}', TOTAL, {}, 0.5),
        ("key information extraction cn", "合计: 30", {"合计": "30"}, {}, 1.0),
        ("key information extraction en", "total: ab", {"total": "AB"}, {}, 1.0),
        ("key information extraction en", "total: AB", {"total": "ab"}, {}, 1.0),
        ("key information mapping en", "Total = ABC  d", {"Total": ["abcd"], "Date": "1"}, {}, 0.5),
        ("handwritten answer extraction cn", "abc", '["abc"]', {"question": "简答题"}, PAGE_OF_ONE_WORD),
        ("full-page OCR en", PAGE, [PAGE], {}, (3 + METEOR_OF_SAME_PAGE) / 4),
        ("full-page OCR cn", " ", '["你好"]', {}, 0.0),
        # The last of six words differs: BLEU (5/6 4/5 3/4 2/3)^(1/4), METEOR 5/6 (1 - .5/5^3), F 5/6, 20 of 25 letters.
        (
            "fine-grained text recognition en",
            "a lazy dog sat over there",
            ["a lazy dog sat over THEM!"],
            {},
            ((1 / 3) ** 0.25 + 5 / 6 * (1 - 0.5 / 125) + 5 / 6 + 20 / 25) / 4,
        ),
        ("table parsing en", f"So: {TABLE}", [TABLE], HTML, 1.0),
        ("table parsing en", "<table><tr><td>ab</td></tr><tr><td>c</td></tr></table>", [TABLE], HTML, 1 - 0.5 / 4),
        ("table parsing en", "no table", [TABLE], HTML, 0.0),
        ("table parsing en", "|a|b|\n|-|-|\n|c|d|", ["| a | b |\n|---|---|\n| c | dx |"], MARKDOWN, 1 - 0.5 / 6),
        ("table parsing cn", TABLE.replace("<td>", "<td colspan=2>", 1), [TABLE], {}, 1 - 1 / 4),
        ("table parsing cn", TABLE.replace("ax", "<b>ax</b>"), [TABLE], {}, 1 - 0.5 / 5),
        ("chart parsing en", '```python\nchart = {"a": 12}  # so\n```', [json.dumps({"a": "12"})], {}, 1.0),
        ("chart parsing en", '{"a": 12, "b": 3}', [json.dumps({"a": "12"})], {}, 1 - 3 / 6),
        ("chart parsing en", "a = 12", [json.dumps({"a": "12"})], {}, 0.0),
        ("document parsing en", "# A\none\n# B\ntwo", ["# Other\nwords\n# B\nmore"], {}, 1.0),
        ("document parsing cn", "# A\none", ["# A\none\ntwo\n# B"], {}, 1 - 2 / 6),
        (
            "text spotting en",
            '[[0, 0, 10, 10, "CAT"]]',
            "[]",
            {"bbox_list": [[0, 0, 10, 0, 10, 10, 0, 10], [20, 20, 30, 30]], "content": ["cat", "dog"]},
            2 / 3,
        ),
    ],
)
def test_by_hand(kind, answer, truth, row, expected):
    assert score(kind, answer, truth, **row) == pytest.approx(expected)


def test_all_thirty_types_are_covered():
    assert len(SCORES) == 30
    for kind in ("no such type", ["text recognition en"]):
        with pytest.raises(ObjectiveError, match=r"has no type .*; it has APP agent en, "):
            score(kind, "x", '["x"]')


@pytest.mark.parametrize(
    ("kind", "truth", "row", "message"),
    [
        ("text counting en", '["some"]', {"eval": "regression"}, "must be a positive integer, not 'some'"),
        ("text counting en", '["0"]', {"eval": "regression"}, "must be a positive integer"),
        ("text counting en", '["1"]', {}, "text counting needs 'eval'"),
        ("text grounding en", '["a"]', {}, "holds no box"),
        ("VQA with position en", '["a"]', {}, "VQA with position needs 'bbox'"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, 1, 1]]}, "text spotting needs 'content'"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, 1, 1]], "content": []}, "one polygon in 'bbox_list' for each"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, 1]], "content": ["a"]}, "no list of corners"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, 1, 1, 2]], "content": ["a"]}, "no list of corners"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0]], "content": ["a"]}, "no list of corners"),
        ("text spotting en", "[]", {"bbox_list": ["0011"], "content": ["a"]}, "no list of corners"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, "1", 1]], "content": ["a"]}, "no list of corners"),
        ("text spotting en", "[]", {"bbox_list": "x", "content": ["a"]}, "one polygon in 'bbox_list' for each"),
        ("text spotting en", "[]", {"bbox_list": [[0, 0, 1, 1]], "content": "a"}, "one polygon in 'bbox_list' for"),
        ("key information extraction en", '["x"]', {}, "must be a JSON object of fields"),
        ("chart parsing en", '["x"]', {}, "must be a JSON object of fields"),
        ("text translation cn", '[" "]', {}, "must not be blank"),
        ("table parsing en", '["x"]', {"question": "Parse it."}, "must ask for html or markdown"),
        ("table parsing en", '["x"]', {}, "table parsing needs 'question'"),
    ],
)
def test_mistakes_of_a_row_are_named_even_without_an_answer(kind, truth, row, message):
    for response in ("<answer>1</answer>", "no answer"):
        with pytest.raises(ObjectiveError, match=message):
            get_objective("ocrbench_v2")(response, truth, {"type": kind, **row})


def test_where_the_answer_is():
    row = {"type": "text recognition en"}
    assert get_objective("ocrbench_v2")("open", '["open"]', row) == 0.0
    assert get_objective("ocrbench_v2", tag=False)("<think>shut</think>open", '["open"]', row) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "1", "b": 2, "c": null}', {"a": "1", "b": "2", "c": "None"}),
        ("{'a': '1, 2', \"b\": \"it's\"}", {"a": "1, 2", "b": "it's"}),
        ('Here:\n```json\n{"a": 1}\n```\nDone: yes', {"a": "1"}),
        ("```python\n{'a': 1}\n```", {"a": "1"}),
        ('  {" a ": " 1 "}  ', {"a": "1"}),
        (" {a: 1} ", {"a": "1"}),
        ("a: 1\nb c = 2", {"a": "1", "b c": "2"}),
        ("{'a': [1, 2, 3, 4]}", {"a": "[1, 2, 3, 4]"}),
        ("```json\n{a: 1", {"a": "1"}),
        ('{"a": {"b": 1}}', {"a": "{'b': 1}"}),
        ("[1, 2]", {}),
        ("12", {}),
        ("no fields", {}),
        ("", {}),
        ("[" * 100_000, {}),
        ('{"a": ' + "9" * 10_000 + "}", {"a": "9" * 10_000}),
    ],
)
def test_fields(text, expected):
    assert read_fields(text) == expected


FIELDS = '{"a": ["1", 2]}'


@pytest.mark.parametrize(
    "truth",
    [{"a": ["1", "2"]}, FIELDS, [FIELDS], json.dumps([FIELDS]), json.dumps(FIELDS), np.array([FIELDS])],
    ids=repr,
)
def test_true_fields(truth):
    assert true_fields(truth) == {"a": ["1", "2"]}


def test_spaces_around_true_keys_and_values_do_not_matter():
    assert true_fields({" a ": [" 1", 2], "b": "x "}) == {"a": ["1", "2"], "b": ["x"]}


@pytest.mark.parametrize(
    "text",
    [
        '[[1, 2, 3, 4, "cat"], [5, 6, 7, 8, "a, b"]]',
        "[[1, 2, 3, 4, 'cat'], [5, 6, 7, 8, 'a, b']]",
        "[1,2,3,4,cat]\n(5, 6, 7, 8, a, b)",
        'Words: [1, 2, 3, 4, "cat"] [1, 2, 3, 4, "cat"] [5, 6, 7, 8, "a, b"]',
        '[["1", "2", "3", "4", "cat"], [1, 2, 3, 2000, "x"], [3, 3, 1, 1, "x"], [5, 6, 7, 8, "a, b"]]',
    ],
)
def test_spotted_words(text):
    assert read_words(text) == [(1, 2, 3, 4, "cat"), (5, 6, 7, 8, "a, b")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "12",
        "[1, 2, 3, 4]",
        "[[1, 2, 3, 4]]",
        "[[1, 2, 3, true, 'x']]",
        "[[1, 2, 3, 4, null]]",
        "[[1, 2, 1, 4, 'x'], [1, 2, 3, 2, 'x']]",
        '[["01000", 2, 3, 4, "x"]]',
    ],
)
def test_no_spotted_words(text):
    assert read_words(text) == []


def test_the_whole_scale_counts_and_a_thousand_words():
    assert read_words('[[0, 0, "1000", 1000, "x"]]') == [(0, 0, 1000, 1000, "x")]
    text = json.dumps([[0, 0, x // 30 + 1, x % 30 + 1, "x"] for x in range(1100)])
    assert len(read_words(text)) == MAX_WORDS == 1000


WHERE, ELSEWHERE = [0, 0, 10, 0, 10, 10, 0, 10], [50, 50, 60, 60]


@pytest.mark.parametrize(
    ("answer", "words", "expected"),
    [
        ('[[0, 0, 10, 10, "cat"], [50, 50, 60, 60, "dog"]]', ["Cat!", "dog"], 1.0),  # a mark at the end
        ('[[0, 0, 10, 10, "cat"], [50, 50, 60, 60, "dog"]]', ["(cat)", "dog"], 1.0),
        ('[[0, 0, 10, 10, "cat"], [50, 50, 60, 60, "dog"]]', ["!cat", "dog"], 1.0),
        ('[[0, 0, 10, 10, "at"], [50, 50, 60, 60, "do"]]', ["cat", "dog"], 0.0),  # letters are no marks
        ('[[0, 0, 10, 10, "a"], [50, 50, 60, 60, "og"]]', ["cat!", "!dog"], 0.0),
        ('[[0, 0, 10, 10, "ca"], [50, 50, 60, 60, "og"]]', ["(cat", "dog!"], 0.0),
        ('[[0, 0, 11, 5, "cat"], [50, 50, 60, 60, "dog"]]', ["cat", "dog"], 0.5),
        ('[[0, 0, 10, 5.5, "cat"], [0, 4, 10, 10, "cat"]]', ["cat", "dog"], 2 / 3),  # IoU 0.6, and no fractions
        ('[[0, 5, 10, 16, "x"], [50, 52, 60, 66, "x"]]', ["cat", "###"], 0.0),
        ('[[0, 0, 10, 10, "cat"], [50, 52, 60, 66, "x"]]', ["cat", "###"], 1.0),  # 8 of 14 lie in it
        ('[[0, 0, 10, 10, "CA"], [50, 50, 60, 60, "dog"]]', ["cat", "dog"], 0.5),
        ('[[0, 0, 10, 5, "cat"], [50, 50, 60, 60, "dog"]]', ["cat", "dog"], 0.5),  # IoU 0.5 is not above it
        ('[[0, 0, 10, 10, "x"], [0, 0, 10, 9, "cat"]]', ["cat", "dog"], 0.0),  # the first in place is taken
        ('[[0, 0, 10, 10, "cat"], [51, 51, 59, 59, "x"]]', ["cat", "###"], 1.0),  # not scored
        ('[[0, 0, 10, 10, "cat"], [55, 50, 65, 60, "x"]]', ["cat", "###"], 2 / 3),  # half in it is not more than half
        ('[[50, 50, 60, 60, "x"]]', ["###", "###"], 0.0),
        ('[[90, 90, 99, 99, "x"]]', ["###", "###"], 0.0),
        ("nothing", ["cat", "dog"], 0.0),
    ],
)
def test_spotting(answer, words, expected):
    assert spotting_score(answer, [WHERE, ELSEWHERE], words) == pytest.approx(expected)
