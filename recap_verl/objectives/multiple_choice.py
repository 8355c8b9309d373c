"""Multiple choice by the option's letter, read strictly. Values are 0 or 1."""

import re
from typing import Any

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.facts import choice_texts
from recap_verl.objectives.mathtext import last_boxed, tidied
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers

_LETTER_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:]?")
_LETTER_FIRST = re.compile(r"(?:\(([A-Z])\)[.:]?|([A-Z])[.):])(?!\S)")


@register_objective("multiple_choice")
def multiple_choice(
    response: str, ground_truth: Any, extra_info: dict, *, accept_text: bool = False, tag: bool = True
) -> float:
    r"""1 if the answer is the right option's letter and nothing but.

    That is the letter alone, in either case (`B`, `(b)`, `B.`, `\boxed{B}`, `**B**`), or in front of the option's
    text (`B. a cat`, `(B) a cat`), as lmms-eval reads ScienceQA and AI2D. A sentence is no letter: `The answer is B`
    scores 0 here, and 1 by `accuracy` and `mmmu`.

    Args:
        ground_truth: a letter A-Z, perhaps as `(B)`; see `acceptable_answers`.
        extra_info: `choices`, a list of the options' texts, if `accept_text`.
        accept_text: the text of the right option is right too, whitespace and case aside (MathVision's rule).
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`.
    """
    letters = [_true_letter(truth) for truth in acceptable_answers(ground_truth)]
    texts = [_folded(choice_texts(extra_info), letter) for letter in letters] if accept_text else []
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    return float(option_letter(answer) in letters or " ".join(answer.split()).casefold() in texts)


def option_letter(text: str) -> str | None:
    """The option that a text names strictly, as a capital letter."""
    boxed = last_boxed(text)
    text = tidied(text if boxed is None else boxed).strip("*").strip()
    alone = _LETTER_ALONE.fullmatch(text)
    if alone:
        return alone[1].upper()
    first = _LETTER_FIRST.match(text)
    return first and (first[1] or first[2])


def _true_letter(truth: str) -> str:
    letter = option_letter(truth)
    if letter is None:
        raise ValueError(f"ground_truth must be the letter of an option, not {truth!r}")
    return letter


def _folded(choices: list[str], letter: str) -> str:
    index = ord(letter) - ord("A")
    if index >= len(choices):
        raise ValueError(f"ground_truth is option {letter}, but 'choices' has {len(choices)} options")
    return " ".join(choices[index].split()).casefold()
