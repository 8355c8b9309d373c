"""Which part of a response is its answer, for every metric that compares an answer with a truth."""

import re

from recap_verl.objectives.tags import after_thinking, last_answer

MAX_LENGTH = 100_000  # characters; more than a policy writes into one context window
_DIGIT_GROUPS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


def given_answer(response: str, tag: bool) -> str | None:
    """The content of the last `<answer>` block, None without one; the response behind `</think>` if `tag` is false.

    Of more than 100,000 characters only the last are read, which bounds the time of whatever reads them.
    """
    answer = last_answer(response) if tag else after_thinking(response)
    return None if answer is None else answer[-MAX_LENGTH:]


def without_digit_groups(text: str) -> str:
    """`1,234` becomes `1234`; commas elsewhere stay."""
    return _DIGIT_GROUPS.sub("", text)
