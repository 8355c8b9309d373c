"""Multiple choice as sources write it: index answers, lists in a string, letters."""

import ast
from collections.abc import Sequence

from data_prep.errors import Skip

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The longest option list of MMMU-Pro has 10 options of some sentences; a parser gets no more than this.
_LONGEST_LIST = 20_000


def parse_list(value: object) -> list[str]:
    """Texts of a list, or of a Python list written as a string (MMMU); never evaluated."""
    if isinstance(value, str):
        if len(value) > _LONGEST_LIST:
            raise Skip("options are too long", len(value))
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise Skip("options are no list", type(error).__name__) from error
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str | int | float) for entry in value):
        raise Skip("options are no list", type(value).__name__)
    return [str(entry) for entry in value]


def letter_at(index: object, options: Sequence[str]) -> str:
    """The letter of the option at an index given as a number or its digits."""
    try:
        number = int(index)
    except (TypeError, ValueError):
        raise Skip("answer is no index", repr(index)) from None
    if not 0 <= number < min(len(options), len(LETTERS)):
        raise Skip("answer is no option", f"{number} of {len(options)}")
    return LETTERS[number]


def letter_of(answer: object, options: Sequence[str]) -> str:
    """The letter of the option with the text `answer`."""
    try:
        return letter_at(list(options).index(answer), options)
    except ValueError:
        raise Skip("answer is no option", repr(answer)) from None


def lettered(options: Sequence[str]) -> str:
    """One option a line: `A. text`."""
    if not 2 <= len(options) <= len(LETTERS):
        raise Skip("number of options", len(options))
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
