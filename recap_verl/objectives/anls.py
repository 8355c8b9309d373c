"""Average normalised Levenshtein similarity, for DocVQA, InfoVQA, ST-VQA and text reading."""

from typing import Any

from rapidfuzz.distance import Levenshtein

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers


@register_objective("anls")
def anls(response: str, ground_truth: Any, extra_info: dict, *, threshold: float = 0.5, tag: bool = True) -> float:
    """ANLS of one answer, as ST-VQA defines it (arXiv 1905.13648, equation 1); the mean over rows is the benchmark's.

    The best, over the true answers, of 1 - NL if NL < threshold and else 0, where NL is the Levenshtein distance
    over the length of the longer text. Case does not matter, runs of whitespace count as one space and at the ends as
    none, as in DocVQA's evaluation. lmms-eval differs at the threshold itself (it keeps NL = 0.5).

    Args:
        ground_truth: see `acceptable_answers`.
        threshold: 1 gives the similarity itself, a denser reward for reading text.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"option 'threshold' must be above 0 and at most 1, not {threshold}")
    truths = acceptable_answers(ground_truth)
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    answer = _folded(answer)
    distances = [distance_share(_folded(truth), answer, threshold) for truth in truths]
    return max(1 - distance if distance < threshold else 0.0 for distance in distances)


def distance_share(first: str, second: str, cutoff: float = 1.0) -> float:
    """Levenshtein distance over the length of the longer text, 0 for two empty ones.

    Anything above `cutoff` is returned as 1; knowing that it is above may take no time at all.
    """
    return Levenshtein.normalized_distance(first, second, score_cutoff=cutoff)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
