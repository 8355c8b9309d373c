"""Instructions whose following a program can check, in the manner of IFEval (arXiv 2311.07911)."""

import json
import random
from collections.abc import Iterator
from typing import Any

from data_prep.vocabulary import WORDS

NUMBERS = ("one", "two", "three", "four", "five", "six")


def instructions() -> Iterator[tuple[str, dict]]:
    """(request, rule) of every word and every kind of rule, in a fixed order drawn at random."""
    pairs = [
        pair
        for word in WORDS
        for pair in (
            *(
                (f"Write exactly {NUMBERS[count - 1]} words about the {word}.", {"kind": "words", "count": count})
                for count in (3, 4, 5, 6)
            ),
            (f"Write a sentence about the {word} all in capital letters.", {"kind": "capitals"}),
            (f"Write a sentence about the {word} that ends with an exclamation mark.", {"kind": "end", "text": "!"}),
            (f"Write a sentence that starts with the word {word.capitalize()}.", {"kind": "start", "text": word}),
            (f"Write a question about the {word}.", {"kind": "end", "text": "?"}),
        )
    ]
    random.Random(0).shuffle(pairs)
    yield from pairs


def follows(response: str, ground_truth: Any, extra_info: dict) -> float:
    """1 if the response keeps the rule, else 0.

    Args:
        ground_truth: a rule of `instructions`, JSON-encoded.
    """
    rule, text = json.loads(ground_truth), response.strip()
    if rule["kind"] == "words":
        return float(len(text.split()) == rule["count"])
    if rule["kind"] == "capitals":
        return float(any(map(str.isalpha, text)) and text == text.upper())
    if rule["kind"] == "end":
        return float(text.endswith(rule["text"]))
    if rule["kind"] == "start":
        return float(text.lower().startswith(rule["text"]))
    raise ValueError(f"no rule is of the kind {rule['kind']!r}")
