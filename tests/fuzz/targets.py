"""What the fuzzer feeds: functions of one text that must neither fail nor take long, whatever the text.

A target is a function of a text; what it raises is a finding. Ground truths and rows come from the data set, not from
the model: a nonsensical one may be refused, but only by an `ObjectiveError` about a `ValueError`.
"""

import json
from collections.abc import Callable

from recap_verl.objectives import ObjectiveError, acceptable_answers, get_objective
from recap_verl.objectives.boxes import parse_boxes, true_boxes
from recap_verl.objectives.facts import choice_texts, fact
from recap_verl.objectives.fields import read_fields, true_fields
from recap_verl.objectives.mathtext import as_latex, last_boxed, quantity, tidied
from recap_verl.objectives.mmmu import chosen_letter, conclusions
from recap_verl.objectives.multiple_choice import option_letter
from recap_verl.objectives.ocrbench_v2 import SCORES
from recap_verl.objectives.page_text import page_score
from recap_verl.objectives.spotting import read_words
from recap_verl.objectives.tags import after_thinking, answer_block_only, last_answer, think_answer_blocks
from recap_verl.objectives.vqa_text import normalized, normalized_for_evalai

# Loads the Chinese dictionary, half a second once in a process.
page_score("世界", "世界")

CHOICES = ["red fish", "blue", "8/11", "A"]
IMAGE = {"image_sizes": [{"width": 1000, "height": 600}]}
BOX, TWO_BOXES = "[10, 20, 300, 400]", '[{"bbox_2d": [10, 20, 300, 400], "label": "cat"}, {"bbox_2d": [0, 0, 9, 9]}]'
CHOICE = {"question_type": "multi_choice", "choices": CHOICES}
PEOPLE = json.dumps(["yes", "Two", "a cat", "the cat", "cat", "cat", "1,000", "t-shirt", "don't", "none"])
OCR_ROW = {
    "bbox": [10, 20, 300, 400],
    "bbox_list": [[0, 0, 10, 0, 10, 10, 0, 10], [20, 20, 30, 30]],
    "content": ["cat", "###"],
    "eval": "regression",
    "question": "As HTML?",
}
OCR_METHODS = [
    ("science QA en", "multiple choice"),
    ("science QA en", "case sensitive"),
    ("cognition VQA cn", "multiple choice"),
    ("cognition VQA cn", "case sensitive"),
    ("text counting en", "exact match"),
]
OCR_TRUTHS = {
    "text counting en": '["12"]',
    "text grounding en": '["10", "20", "300", "400"]',
    **dict.fromkeys((kind for kind in SCORES if kind.startswith("key")), '{"total": ["30", "30.0"], "date": "x"}'),
}


OCR_TRUTHS |= {
    "chart parsing en": '{"a": "12", "b": {"c": 3}}',
    "table parsing cn": json.dumps(["<table><tr><td>a</td><td colspan=2>b<b>c</b></td></tr></table>"]),
    **dict.fromkeys(("document parsing en", "document parsing cn"), json.dumps(["# A\ntext\n\n## B\nmore"])),
}


def _ocr_truth(kind: str) -> str:
    return OCR_TRUTHS.get(kind, '["B", "a long answer of six words"]')


# (name, options, ground truth, row); every registered objective with every kind of option, truth and row.
CASES = [
    ("accuracy", {"timeout": 0.0}, "x+1", {}),
    ("accuracy", {"timeout": 0.0, "require_tag": True}, "B", {}),
    ("think_format", {}, None, {}),
    ("think_format", {"strict": True}, None, {}),
    ("answer_format", {}, None, {}),
    ("exact_match", {"normalize_case": True, "normalize_punctuation": True}, '["a", "b c"]', {}),
    ("iou", {}, BOX, {}),
    ("iou", {"tag": False, "frame": "resized", "threshold": 0.5}, TWO_BOXES, IMAGE),
    ("iou", {"frame": "thousand", "truth_frame": "unit", "inclusive": True, "threshold": 0.1}, "[0, 0, 1, 1]", {}),
    ("detection", {}, TWO_BOXES, {}),
    ("detection", {"form": "f1", "match_labels": True, "tag": False, "frame": "unit"}, TWO_BOXES, IMAGE),
    ("detection", {"form": "confidence"}, "[]", {}),
    ("anls", {}, '["canada", "new york"]', {}),
    ("anls", {"threshold": 1.0, "tag": False}, "a longer text to be read, as long as a line", {}),
    ("relaxed_accuracy", {}, '["12.5", "50%", "yes"]', {}),
    ("relaxed_accuracy", {"lenient": True, "tag": False}, "1,234", {}),
    ("vqa_accuracy", {}, PEOPLE, {}),
    ("vqa_accuracy", {"normalization": "evalai", "tag": False}, PEOPLE, {}),
    ("multiple_choice", {}, "B", {}),
    ("multiple_choice", {"accept_text": True, "tag": False}, "B", {"choices": CHOICES}),
    ("mmmu", {}, "B", {"choices": CHOICES}),
    ("mmmu", {"tag": False}, '["12.5", "x", "red fish"]', {}),
    ("mathvista", {}, "8/11", CHOICE),
    ("mathvista", {}, "14", {"answer_type": "integer"}),
    ("mathvista", {"tag": False}, "1.45", {"answer_type": "float", "precision": 2}),
    ("mathvista", {}, "[2007, 2008]", {"answer_type": "list"}),
    ("mathvista", {}, "left", {"answer_type": "text"}),
    *(("ocrbench_v2", {}, _ocr_truth(kind), {**OCR_ROW, "type": kind}) for kind in SCORES),
    *(
        ("ocrbench_v2", {"tag": False}, _ocr_truth(kind), {**OCR_ROW, "type": kind, "eval": method})
        for kind, method in OCR_METHODS
    ),
    ("ocrbench_v2", {}, '["| a | b |\\n|---|---|\\n| c | d |"]', {"type": "table parsing en", "question": "Markdown?"}),
    ("ocrbench_v2", {}, '["你好世界"]', {"type": "handwritten answer extraction cn", "question": "简答"}),
]
PARSERS: list[Callable[[str], object]] = [
    after_thinking,
    answer_block_only,
    as_latex,
    conclusions,
    last_answer,
    last_boxed,
    normalized,
    normalized_for_evalai,
    option_letter,
    parse_boxes,
    quantity,
    read_fields,
    read_words,
    think_answer_blocks,
    tidied,
    lambda text: chosen_letter(text, CHOICES),
    lambda text: chosen_letter(text, text.split(",")[:30]),
    lambda text: fact({"metadata": text}, "type"),
]
TRUTH_PARSERS: list[Callable[[str], object]] = [
    acceptable_answers,
    true_boxes,
    true_fields,
    lambda text: true_boxes(text, may_be_none=True),
    lambda text: choice_texts({"metadata": text}),
]


Target = tuple[str, Callable[[str], object]]


def _targets(label: str, name: str, options: dict, truth: object, row: dict) -> list[Target]:
    """The text as a response, as its answer, as the ground truth and as the row's metadata: a score each, which is what
    is timed."""
    objective = get_objective(name, **options)
    written = "<answer>[1, 2, 3, 4] B 12</answer>"

    def checked(*arguments) -> None:
        value = objective(*arguments)
        assert isinstance(value, float) and 0.0 <= value <= 1.0, f"{name} returned {value!r}"

    def checked_data(*arguments) -> None:
        try:
            checked(*arguments)
        except ObjectiveError as error:
            if type(error.__cause__) is not ValueError:
                raise

    return [
        (f"{label}, response", lambda text: checked(text, truth, row)),
        (f"{label}, answer", lambda text: checked(f"<answer>{text}</answer>", truth, row)),
        (f"{label}, truth, data", lambda text: checked_data(written, text, row)),
        (f"{label}, metadata, data", lambda text: checked_data(written, truth, {"metadata": text})),
    ]


def _truth_parser_target(parser: Callable[[str], object]) -> Callable[[str], None]:
    def parse(text: str) -> None:
        try:
            parser(text)
        except ValueError as error:
            if type(error) is not ValueError:
                raise

    return parse


TARGETS: list[Target] = [
    *(
        target
        for index, case in enumerate(CASES)
        for target in _targets(f"{case[0]} {index} {case[3].get('type', '')}".strip(), *case)
    ),
    *((getattr(parser, "__name__", "parser"), parser) for parser in PARSERS),
    *((f"truth parser {index}", _truth_parser_target(parser)) for index, parser in enumerate(TRUTH_PARSERS)),
]
SYMBOLIC_TARGETS = _targets("accuracy", "accuracy", {"timeout": 0.5}, "x+1", {})
