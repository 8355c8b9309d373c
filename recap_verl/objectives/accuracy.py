"""Is the answer right? Values are 0 or 1.

Order of the tests (arXiv 2510.21978: math-verify equality, else exact match, else the last option letter), cheapest
first where that cannot change the outcome.
"""

import math
import re
from typing import Any

from recap_verl.objectives.bounded import symbolic_equal
from recap_verl.objectives.mathtext import has_words, last_boxed, tidied
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.tags import after_thinking, last_answer
from recap_verl.objectives.truths import acceptable_answers

# Up to 15 digits survive the way through a float.
_DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_OPTION_TRUTH = re.compile(r"\(?([A-H])[).:]?")
_OPTION = re.compile(r"(?<![\w°'’\\])[A-H](?![\w'’])")
# "B. A dog" answers B: an A before a lower-case word is the article, unless the word continues "A is right, because".
_ARTICLE = re.compile(r"A[ \t]+(?!(?:is|as|and|or|because|since)\b)[a-z]")


@register_objective("accuracy")
def accuracy(
    response: str, ground_truth: Any, extra_info: dict, *, timeout: float = 2.0, require_tag: bool = False
) -> float:
    r"""1 if the answer is right: the same text, the same number, the same option letter or an equal formula.

    The answer is the content of the last `<answer>` block, or without one the response behind `</think>`; if it holds
    a `\boxed{}`, the content of the last box. Case matters unless the truth is made of words.

    - A truth that is one letter A-H, perhaps as `(B)`, is compared with the last option letter that stands alone in
      the answer, and with nothing else.
    - Two plain decimals are equal if they agree to six decimals and six digits (0.333333 and 0.3333333).
    - Everything else goes to `symbolic_equal`.

    Args:
        ground_truth: see `acceptable_answers`.
        timeout: seconds for the symbolic comparison; 0 switches it off, values above 60 count as 60.
        require_tag: a response without an `<answer>` block scores 0.
    """
    truths = acceptable_answers(ground_truth)
    answer = last_answer(response)
    if answer is None:
        if require_tag:
            return 0.0
        answer = after_thinking(response)
    boxed = last_boxed(answer)
    answer = answer if boxed is None else boxed
    verdicts = [_quick_verdict(truth, answer) for truth in truths]
    if True in verdicts:
        return 1.0
    undecided = [truth for truth, verdict in zip(truths, verdicts, strict=True) if verdict is None]
    return float(bool(undecided) and symbolic_equal(undecided, answer, timeout))


def _quick_verdict(truth: str, answer: str) -> bool | None:
    """Right or wrong where text alone decides, None where only a symbolic comparison can."""
    truth, text = tidied(truth), tidied(answer)
    option = _OPTION_TRUTH.fullmatch(truth)
    if option:
        return option[1] == _last_option(answer)
    if truth == text:
        return bool(truth)
    if has_words(truth) and truth.casefold() == text.casefold():
        return True
    if _DECIMAL.fullmatch(truth) and _DECIMAL.fullmatch(text):
        return _same_decimal(float(truth), float(text))
    return None


def _same_decimal(truth: float, answer: float) -> bool:
    return round(truth, 6) == round(answer, 6) and math.isclose(truth, answer, rel_tol=1e-6)


def _last_option(text: str) -> str | None:
    """The last letter A-H that is a word of its own and no article."""
    letters = [match[0] for match in _OPTION.finditer(text) if not _ARTICLE.match(text, match.start())]
    return letters[-1] if letters else None
