"""MathVista's scoring without the language model (arXiv 2310.02255; `evaluation/calculate_score.py`). 0 or 1."""

import math
import re
from collections.abc import Callable
from typing import Any

from rapidfuzz.distance import Levenshtein

from recap_verl.objectives.answers import given_answer, without_digit_groups
from recap_verl.objectives.facts import choice_texts, fact, needed_fact
from recap_verl.objectives.mathtext import last_boxed, tidied
from recap_verl.objectives.multiple_choice import option_letter
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers

ANSWER_TYPES = ("text", "integer", "float", "list")
_LETTER = re.compile(r"\(([a-zA-Z])\)")
_NUMBER = re.compile(
    r"(?:(?<![0-9])[+-])?+(?:[0-9]{1,30}+(?:\.[0-9]{0,30}+)?+|\.[0-9]{1,30}+)(?:[eE][+-]?[0-9]{1,3})?+"
)
_MAX_PRECISION = 15


@register_objective("mathvista")
def mathvista(response: str, ground_truth: Any, extra_info: dict, *, tag: bool = True) -> float:
    r"""1 if the answer, normalised by MathVista's rules, is the truth.

    MathVista lets a language model extract the answer from the response. Here it is the content of the `<answer>`
    block, of that the last `\boxed{}` if there is one, and where a number or a list is asked for and the text is none,
    the last one in it. What follows is published:

    - `question_type` `multi_choice`: a letter stands for its option; any other text for the option with the smallest
      Levenshtein distance, the first of several. Here an empty answer stands for none.
    - `answer_type` `integer`: decimals are cut off. `float`: rounded to `precision` decimals. `list`, and `text` in
      free form: compared as text, here without regard to spaces.

    The truth is normalised in the same way (published is equality with its text, so that `1.20` is out of reach).

    Args:
        ground_truth: the answer, for multiple choice the option's text; see `acceptable_answers`.
        extra_info: `question_type`, `answer_type`, `choices` and `precision` as in the data set.
        tag: false takes the response behind `</think>` in place of the `<answer>` block; with true a response without
            one scores 0.
    """
    truths = acceptable_answers(ground_truth)
    normalize = _normalizer(extra_info)
    targets = [normalize(truth) for truth in truths]
    if None in targets:
        raise ValueError(f"ground_truth {truths!r} is not of the answer_type that the row names")
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    boxed = last_boxed(answer)
    return float(normalize(tidied(answer if boxed is None else boxed)) in targets)


def _normalizer(extra_info: dict) -> Callable[[str], Any]:
    """The function that turns a text into what is compared, None if the text says nothing of the kind."""
    if fact(extra_info, "question_type") == "multi_choice":
        choices = choice_texts(extra_info)
        if not choices:
            raise ValueError("mathvista needs 'choices' in extra_info for a question of type multi_choice")
        return lambda text: _choice(text, choices)
    kind = needed_fact(extra_info, "answer_type", "mathvista")
    if kind not in ANSWER_TYPES:
        raise ValueError(f"'answer_type' must be one of {', '.join(ANSWER_TYPES)}, not {kind!r}")
    if kind == "float":
        precision = _precision(extra_info)
        return lambda text: _rounded(_number(text), precision)
    return {"integer": lambda text: _whole(_number(text)), "list": _list, "text": _text}[kind]


def _choice(text: str, choices: list[str]) -> str | None:
    text = text.strip()
    if not text or text in choices:
        return text or None
    parenthesized = _LETTER.search(text)
    letter = parenthesized[1].upper() if parenthesized else option_letter(text)
    index = ord(letter) - ord("A") if letter else len(choices)
    if index < len(choices):
        return choices[index]
    return min(choices, key=lambda choice: Levenshtein.distance(letter if parenthesized else text, choice))


def _number(text: str) -> float | None:
    numbers = _NUMBER.findall(without_digit_groups(text))
    number = float(numbers[-1]) if numbers else math.nan
    return number if math.isfinite(number) else None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _rounded(number: float | None, precision: int) -> float | None:
    return None if number is None else round(number, precision)


def _precision(extra_info: dict) -> int:
    precision = needed_fact(extra_info, "precision", "mathvista, for an answer of type float,")
    if not isinstance(precision, int | float) or not 0 <= precision <= _MAX_PRECISION or precision != int(precision):
        raise ValueError(f"'precision' must be a number of decimals from 0 to {_MAX_PRECISION}, not {precision!r}")
    return int(precision)


def _list(text: str) -> str | None:
    end = text.rfind("]")
    start = text.rfind("[", 0, end) if end >= 0 else -1
    return _text(text[start : end + 1] if start >= 0 else text)


def _text(text: str) -> str | None:
    return "".join(text.split()) or None
