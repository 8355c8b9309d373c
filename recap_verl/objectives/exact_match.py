"""Exact match of the answer's text, for text domains (reading, word tasks, short answers). Values are 0 or 1."""

import unicodedata
from typing import Any

from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.tags import last_answer
from recap_verl.objectives.truths import acceptable_answers


@register_objective("exact_match")
def exact_match(
    response: str,
    ground_truth: Any,
    extra_info: dict,
    *,
    tag: bool = True,
    template: str = "{}",
    normalize_whitespace: bool = True,
    normalize_case: bool = False,
    normalize_punctuation: bool = False,
) -> float:
    """1 if the answer equals one of the truths after the same normalisation of both.

    Args:
        ground_truth: see `acceptable_answers`.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the whole response.
        template: what the answer must be, with `{}` for the truth.
        normalize_whitespace: runs of whitespace count as one space, at the ends as none.
        normalize_case: case does not matter.
        normalize_punctuation: Unicode punctuation is dropped.
    """
    answer = last_answer(response) if tag else response
    if answer is None:
        return 0.0

    def normalized(text: str) -> str:
        if normalize_case:
            text = text.casefold()
        if normalize_punctuation:
            text = text.translate({ord(char): None for char in set(text) if unicodedata.category(char).startswith("P")})
        return " ".join(text.split()) if normalize_whitespace else text

    written = (template.replace("{}", truth) for truth in acceptable_answers(ground_truth))
    return float(normalized(answer) in map(normalized, written))
