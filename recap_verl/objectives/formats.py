r"""Format objectives: does the whole output have the demanded blocks? Values are 0 or 1.

Whitespace around the whole output never matters; case of the tags does. Empty blocks pass: content is what the other
objectives judge.
"""

from typing import Any

from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.tags import answer_block_only, think_answer_blocks


@register_objective("think_format")
def think_format(response: str, ground_truth: Any, extra_info: dict, *, strict: bool = False) -> float:
    r"""1 if the output is `<think>…</think>`, optional whitespace, `<answer>…</answer>`, each tag exactly once.

    Args:
        strict: MoDoMoDo's form, in which the content of either block stands on lines of its own
            (`<think>\n…\n</think>`).
    """
    blocks = think_answer_blocks(response)
    if blocks is None:
        return 0.0
    return float(not strict or all(map(_on_own_lines, blocks)))


@register_objective("answer_format")
def answer_format(response: str, ground_truth: Any, extra_info: dict) -> float:
    """1 if the output is `<answer>…</answer>` and nothing else.

    A think block gives 0: on perception tasks the policy drops its rationale, and a reward for it is
    counter-productive (arXiv 2510.21978).
    """
    return float(answer_block_only(response) is not None)


def _on_own_lines(content: str) -> bool:
    return len(content) >= 2 and content.startswith("\n") and content.endswith("\n")
