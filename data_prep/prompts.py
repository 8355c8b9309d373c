"""How a question is put: what kind of answer is wanted, and in which tags.

A style goes with the format objective that checks it.
"""

STYLES = {
    "think": "Reason about the question inside <think>...</think>, then give only the final answer inside "
    "<answer>...</answer>.",
    "answer": "Reply only with <answer>...</answer>.",
    "plain": "",
}
FORMAT_OBJECTIVES = {"think": {"think_format": {}}, "answer": {"answer_format": {}}, "plain": {}}

REPLIES = {
    "letter": "Answer with the letter of the right option.",
    "phrase": "Answer with a single word or a short phrase.",
    "number": "Answer with a number.",
    "box": "Answer with a bounding box [x1, y1, x2, y2] in pixels of the image.",
    "free": "",
}


def user_turn(text: str, reply: str, style: str) -> str:
    """The question, a line that says what to answer and how, for the `style` and the kind of `reply`."""
    instruction = " ".join(filter(None, (REPLIES[reply], STYLES[style])))
    return "\n".join(filter(None, (text, instruction)))
