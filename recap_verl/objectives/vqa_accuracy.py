"""Accuracy by agreement with ten people, for VQA v2 and VizWiz."""

from typing import Any, Literal

from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.truths import acceptable_answers
from recap_verl.objectives.vqa_text import normalized, normalized_for_evalai

NORMALIZATIONS = {"vqa": normalized, "evalai": normalized_for_evalai}


@register_objective("vqa_accuracy")
def vqa_accuracy(
    response: str,
    ground_truth: Any,
    extra_info: dict,
    *,
    normalization: Literal["vqa", "evalai"] = "vqa",
    tag: bool = True,
) -> float:
    """VQA accuracy (arXiv 1505.00468, visualqa.org/evaluation).

    min(people who gave the answer / 3, 1), averaged over all ways to leave one of the people out. Both sides are
    normalised first. (The challenge's code skips that where all people said the same; lmms-eval and we do not.)

    Args:
        ground_truth: the answers of all people, ten in both data sets, equal ones repeated; see `acceptable_answers`.
        normalization: "vqa" is the challenge's, "evalai" the variant that lmms-eval applies to VizWiz.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`.

    Raises:
        ValueError: fewer than two people: nobody is left to agree with when one is left out.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"option 'normalization' must be one of {', '.join(NORMALIZATIONS)}, not {normalization!r}")
    normalize = NORMALIZATIONS[normalization]
    people = [normalize(truth) for truth in acceptable_answers(ground_truth)]
    if len(people) < 2:
        raise ValueError("vqa_accuracy needs the answers of several people in ground_truth; use exact_match for one")
    answer = given_answer(response, tag)
    if answer is None:
        return 0.0
    agreeing = people.count(normalize(answer))
    others = len(people) - agreeing
    return (agreeing * min((agreeing - 1) / 3, 1) + others * min(agreeing / 3, 1)) / len(people)
