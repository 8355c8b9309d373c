"""MMMU's rule-based scoring (arXiv 2311.16502; its repository's `mmmu/utils/eval_utils.py`). Values are 0 or 1."""

import re
from typing import Any

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.facts import choice_texts, fact
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers

_NUMBER_LENGTH = 100  # characters; longer ones are compared as text
_KEY_PHRASES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = (":", ",", ".", "!", "?", ";", "'")
# Possessive and anchored to the beginning of a run of digits: what they find is found in one pass.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d++(?:\.\d++)?+[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++\b)(?![eE][+-]?\d)(?![,\d])"),
)


@register_objective("mmmu")
def mmmu(response: str, ground_truth: Any, extra_info: dict, *, tag: bool = True) -> float:
    """1 if the answer is right by MMMU's rules, except that nothing is drawn by lot.

    A row with `choices` is multiple choice: see `chosen_letter`. MMMU draws a random letter where that finds none,
    which adds points by chance; here the answer is wrong. Any other row is open: right if a true text occurs in what
    the answer says in the end, or a true number, to two decimals, is among its numbers; see `conclusions`.

    Args:
        ground_truth: the letter, or one or more texts; see `acceptable_answers`.
        extra_info: `choices`, a list of the options' texts, for multiple choice. `question_type` `open` overrides it.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`, which the rules are made for.
    """
    truths = acceptable_answers(ground_truth)
    choices = [] if fact(extra_info, "question_type") == "open" else choice_texts(extra_info)
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    if choices:
        return float(chosen_letter(answer, choices) in [truth.strip() for truth in truths])
    true_forms = {form for truth in truths for form in _forms(truth)}
    texts = [form for form in true_forms if isinstance(form, str) and form]
    return float(any(_says(conclusion, true_forms, texts) for conclusion in conclusions(answer)))


def chosen_letter(text: str, choices: list[str]) -> str | None:
    """The option that a text names, None if it names none: MMMU's `parse_multi_choice_response` without the lot.

    The first of these that finds any option decides, and of several options the last mentioned: letters in
    parentheses, letters between spaces, or, in more than five words, the texts of options.
    """
    for char in ",.!?;:'":
        text = text.strip(char)
    text = f" {text} "
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    for form in ("({})", " {} "):
        found = {letter: text.rfind(form.format(letter)) for letter in letters}
        if max(found.values()) >= 0:
            return max(letters, key=found.__getitem__)
    if len(text.split()) <= 5:
        return None
    found = {letter: _last(choice, text) for letter, choice in zip(letters, choices, strict=True)}
    return max(letters, key=found.__getitem__) if max(found.values()) >= 0 else None


def conclusions(text: str) -> list[str | float]:
    """What an open answer says in the end: MMMU's `parse_open_response`.

    Of each line the shortest text behind one of the phrases that introduce a result (in the last line also `=`); the
    whole where no line has one; the numbers in these, rounded to two decimals.
    """
    text = text.strip().strip(".").lower()
    *lines, last_line = text.split("\n")
    found = [_behind_phrase(line, _KEY_PHRASES) for line in lines]
    found.append(_behind_phrase(last_line, (*_KEY_PHRASES, "=")))
    parts = [part for part in found if part and part not in _TRIVIAL] or [text]
    numbers = {number for part in parts for pattern in _NUMBERS for number in pattern.findall(part)}
    return [form for part in (*parts, *numbers) for form in _forms(part)]


def _last(choice: str, text: str) -> int:
    return text.lower().rfind(choice.lower()) if choice else -1


def _behind_phrase(line: str, phrases: tuple[str, ...]) -> str:
    shortest = ""
    for phrase in phrases:
        if phrase in line:
            behind = line.rpartition(phrase)[2].strip()
            # Nothing behind a phrase undoes what stood behind an earlier one, and yields to a later one: as published.
            shortest = behind if not shortest else min(shortest, behind, key=len)
    return shortest


def _forms(text: str) -> list[str | float]:
    """How a text is compared: as a number if it is one; a single character only with a space beside it."""
    text = text.strip()
    if len(text) <= _NUMBER_LENGTH:
        try:
            return [round(float(text.replace(",", "")), 2)]
        except ValueError:
            pass
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _says(conclusion: str | float, true_forms: set[str | float], texts: list[str]) -> bool:
    if isinstance(conclusion, float):
        return conclusion in true_forms
    return any(text in conclusion for text in texts)
