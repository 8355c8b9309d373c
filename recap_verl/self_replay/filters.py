"""Which of the base model's answers are worth imitating. Pure functions on tokens and text."""

from collections.abc import Iterable, Iterator, Sequence

from recap_verl.self_replay.parts import Answer
from recap_verl.self_replay.settings import Filters

PROMPT_TOO_LONG = "prompt too long"
CUT = "cut"
EMPTY = "empty"
SHORT = "short"
REPETITIVE = "repetitive"
DUPLICATE = "duplicate"

GRAM = 4


def repeated_share(tokens: Sequence[int], size: int = GRAM) -> float:
    """Share of the runs of `size` tokens that occurred before in `tokens`; 0 where there is no such run."""
    grams = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def fault(answer: Answer, filters: Filters) -> str | None:
    """The first reason to drop an answer by itself; None keeps it."""
    if answer.token_ids is None:
        return PROMPT_TOO_LONG
    if not answer.ended and not filters.keep_cut:
        return CUT
    if not answer.text.strip():
        return EMPTY
    if len(answer.spoken) < filters.min_tokens:
        return SHORT
    if repeated_share(answer.spoken) > filters.max_repetition:
        return REPETITIVE
    return None


def sift(answers: Iterable[Answer], filters: Filters) -> Iterator[tuple[Answer, str | None]]:
    """Each answer to ONE prompt with the reason to drop it, or None; of equal texts the first is kept."""
    kept_texts = set()
    for answer in answers:
        reason = fault(answer, filters)
        if reason is None and answer.text in kept_texts:
            reason = DUPLICATE
        if reason is None:
            kept_texts.add(answer.text)
        yield answer, reason
