"""Relaxed accuracy, for questions about charts. Values are 0 or 1."""

import math
from typing import Any

from recap_verl.objectives.answers import given_answer, without_digit_groups
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers

_NUMBER_LENGTH = 100  # characters; nothing longer is a number read off a chart


@register_objective("relaxed_accuracy")
def relaxed_accuracy(
    response: str,
    ground_truth: Any,
    extra_info: dict,
    *,
    tolerance: float = 0.05,
    lenient: bool = False,
    tag: bool = True,
) -> float:
    """ChartQA's relaxed accuracy (arXiv 2203.10244, section 5.1), in the form all evaluations share (pix2struct's).

    1 if answer and truth are numbers and differ by at most 5 % of the truth, or if their texts are equal, case aside.
    A number that ends in `%` is divided by 100. A truth of 0 is compared as text, as is every answer that Python's
    `float` does not read: `1,234` and `12 apples` are no numbers. Years get the 5 % too. With several truths any will
    do.

    Args:
        ground_truth: see `acceptable_answers`.
        tolerance: the share of the truth that an answer may be off.
        lenient: not part of the definition: of both texts a currency sign in front, commas between groups of three
            digits and a final full stop are dropped first. Worth having where answers are trained, not compared with
            published numbers.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`.
    """
    truths = acceptable_answers(ground_truth)
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    prepared = _leniently if lenient else str.strip
    return float(any(_equal(prepared(answer), prepared(truth), tolerance) for truth in truths))


def _equal(answer: str, truth: str, tolerance: float) -> bool:
    number, true_number = _number(answer), _number(truth)
    if number is not None and true_number:
        return abs(number - true_number) / abs(true_number) <= tolerance
    return answer.lower() == truth.lower()


def _number(text: str) -> float | None:
    if len(text) > _NUMBER_LENGTH:
        return None
    try:
        number = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _leniently(text: str) -> str:
    text = without_digit_groups(text.strip()).removesuffix(".")
    return text.removeprefix("$").removeprefix("€").removeprefix("£")
