"""Scores per second of each built-in objective, one thread, on the cases that training meets.

Run: python benchmarks/objectives.py
"""

import json
import time

from recap_verl.objectives import get_objective, symbolic_equal

REASONED = f"<think>{'The two numbers are added. ' * 20}</think>\n<answer>{{}}</answer>"
SYMBOLIC = [
    (r"\frac{1}{2}", "0.5"),
    ("x^2+2x+1", "(x+1)^2"),
    ("[0,1]", "(0,1)"),
    (r"2\sqrt{3}", "sqrt(12)"),
    (r"\frac{3\pi}{4}", r"\frac{3}{4}\pi"),
    ("1,234", "1234"),
    ("x=5", "5"),
    (r"\{1,2\}", "2, 1"),
]

BOXES = [{"bbox_2d": [x, 40, x + 60, 120], "label": "cat"} for x in range(0, 800, 80)]
IMAGE = {"metadata": json.dumps({"orig_w": 1280, "orig_h": 853})}
CHOICES = ["a red fish", "a blue bird", "a green tree", "none of these"]
PEOPLE = json.dumps(
    ["soup", "Soup.", "soup can", "a can", "soup", "the soup", "can", "campbell's", "soup", "unanswerable"]
)
OCR_FIELDS = {"company": "OLD TOWN KOPITIAM", "date": "2024/9/27", "total": "30.00"}

TABLE = f"<table>{('<tr>' + '<td>1,234</td>' * 6 + '</tr>') * 10}</table>"
DOCUMENT = ("# A heading\n" + "A line of text.\n" * 5) * 10


def rate(score, seconds: float = 1.0) -> float:
    """Calls of `score(i)` per second."""
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for index in range(calls, calls + 50):
            score(index)
        calls += 50
    return calls / elapsed


def metrics() -> dict:
    """The metrics of the paper's data sets, each on a right answer of the usual length."""

    def case(name, answer, truth, row=None, **options):
        objective, response, row = get_objective(name, **options), REASONED.format(answer), row or {}
        return lambda i: objective(response, truth, row)

    def asked(kind, **row):
        return {"metadata": json.dumps({"type": kind, **row})}

    boxes, page = json.dumps(BOXES), "a line of text that was read off a page, " * 5
    words = json.dumps([[*box["bbox_2d"], box["label"]] for box in BOXES])
    spots = asked("text spotting en", bbox_list=[box["bbox_2d"] for box in BOXES], content=["cat"] * len(BOXES))
    choice, mathvista_choice = {"choices": CHOICES}, {"question_type": "multi_choice", "choices": CHOICES}
    return {
        "iou": case("iou", "[100, 50, 300, 400]", "[100, 50, 300, 380]"),
        "iou, rescaled": case("iou", "[100, 50, 300, 400]", "[100, 50, 300, 380]", IMAGE, frame="resized"),
        "detection, 10 boxes": case("detection", boxes, boxes),
        "anls, a few words": case("anls", "old town kopitiam", '["OLD TOWN KOPITAM"]'),
        "anls, 200 characters": case("anls", page, page.upper()),
        "relaxed_accuracy": case("relaxed_accuracy", "12.4", "12.5"),
        "vqa_accuracy": case("vqa_accuracy", "a soup can", PEOPLE),
        "multiple_choice": case("multiple_choice", "B. a blue bird", "B"),
        "mmmu, multiple choice": case("mmmu", "The answer is (B).", "B", choice),
        "mmmu, open": case("mmmu", "So the total is 1,250.5 dollars.", "1250.5"),
        "mathvista, multiple choice": case("mathvista", "blue bird", "a blue bird", mathvista_choice),
        "mathvista, float": case("mathvista", "1.449", "1.45", {"answer_type": "float", "precision": 2}),
        "ocrbench_v2, question": case("ocrbench_v2", "It says open.", '["open"]', asked("text recognition en")),
        "ocrbench_v2, fields": case(
            "ocrbench_v2", json.dumps(OCR_FIELDS), OCR_FIELDS, asked("key information extraction en")
        ),
        "ocrbench_v2, grounding": case("ocrbench_v2", "[1, 2, 3, 4]", "[1, 2, 3, 4]", asked("text grounding en")),
        "ocrbench_v2, spotting, 10 words": case("ocrbench_v2", words, "[]", spots),
        "ocrbench_v2, page of 50 words": case("ocrbench_v2", page, json.dumps([page]), asked("full-page OCR en")),
        "ocrbench_v2, table of 60 cells": case("ocrbench_v2", TABLE, [TABLE], asked("table parsing cn")),
        "ocrbench_v2, document of 60 lines": case("ocrbench_v2", DOCUMENT, [DOCUMENT], asked("document parsing en")),
    }


def main() -> None:
    accuracy, exact = get_objective("accuracy"), get_objective("exact_match")
    think, strict = get_objective("think_format"), get_objective("think_format", strict=True)
    answer_only = get_objective("answer_format")
    right, option, prose = REASONED.format("12"), REASONED.format("B. A dog"), REASONED.format("I do not know")
    symbolic = [(gold, REASONED.format(answer)) for gold, answer in SYMBOLIC]
    # Numbers that change every time, so that no parser cache answers.
    fresh = [(f"{i}/7", REASONED.format(rf"\frac{{{i}}}{{8}}")) for i in range(100_000)]
    symbolic_equal("1/2", "2/4")  # starts the child, which no rate should include

    cases = {
        "accuracy, number right": lambda i: accuracy(right, "12", {}),
        "accuracy, number wrong": lambda i: accuracy(right, "13", {}),
        "accuracy, option letter": lambda i: accuracy(option, "B", {}),
        "accuracy, words for a number": lambda i: accuracy(prose, "13", {}),
        "accuracy, formulas": lambda i: accuracy(symbolic[i % 8][1], symbolic[i % 8][0], {}),
        "accuracy, new fractions": lambda i: accuracy(fresh[i % 100_000][1], fresh[i % 100_000][0], {}),
        "think_format": lambda i: think(right, None, {}),
        "think_format, strict": lambda i: strict(right, None, {}),
        "answer_format": lambda i: answer_only("<answer>[1, 2, 3, 4]</answer>", None, {}),
        "exact_match": lambda i: exact(right, '["12", "twelve"]', {}),
    }
    cases.update(metrics())
    print(f"{'objective':36}{'scores/s':>12}")
    for name, score in cases.items():
        print(f"{name:36}{rate(score):>12,.0f}")


if __name__ == "__main__":
    main()
