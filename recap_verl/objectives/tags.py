"""Reading of `<think>…</think>` and `<answer>…</answer>` blocks.

Responses are untrusted and may be megabytes of nothing but tags, so everything here is a fixed number of linear
`str.find` scans, never a regular expression with two open ends.
"""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)


def last_answer(response: str) -> str | None:
    """Content of the last complete answer block, None without one.

    The last one counts, so that writing several answers gains nothing.
    """
    close = response.rfind(ANSWER_CLOSE)
    start = response.rfind(ANSWER_OPEN, 0, close) if close >= 0 else -1
    if start < 0:
        return None
    start += len(ANSWER_OPEN)
    return response[start : response.find(ANSWER_CLOSE, start)]


def after_thinking(response: str) -> str:
    """The response behind its last `</think>`; all of it when there is none."""
    return response.rpartition(THINK_CLOSE)[2]


def think_answer_blocks(response: str) -> tuple[str, str] | None:
    """(think, answer) when the whole response is one think block and one answer block, else None.

    Whitespace around and between the blocks is ignored: chat templates and tokenizers add it, not the policy.
    """
    text = response.strip()
    if any(text.count(tag) != 1 for tag in TAGS):
        return None
    if not (text.startswith(THINK_OPEN) and text.endswith(ANSWER_CLOSE)):
        return None
    think, closed, rest = text[len(THINK_OPEN) : -len(ANSWER_CLOSE)].partition(THINK_CLOSE)
    between, opened, answer = rest.partition(ANSWER_OPEN)
    if not closed or not opened or between.strip():
        return None
    return think, answer


def answer_block_only(response: str) -> str | None:
    """The answer when the whole response, apart from surrounding whitespace, is one answer block, else None."""
    text = response.strip()
    if [text.count(tag) for tag in TAGS] != [0, 0, 1, 1]:
        return None
    if not (text.startswith(ANSWER_OPEN) and text.endswith(ANSWER_CLOSE)):
        return None
    return text[len(ANSWER_OPEN) : -len(ANSWER_CLOSE)]
