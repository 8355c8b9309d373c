"""Similarity of two Markdown documents by the tree of their headings, as OCRBench v2 scores document parsing (its
repository's `eval_scripts/TEDS_metric.py`).

Only structure counts there: a line costs nothing to change into any other, unless one of the two is blank.
"""

import re
from collections.abc import Sequence

import numpy as np

from recap_verl.objectives.events import count_event
from recap_verl.objectives.tree_edit import Node, TreeTooLarge, tree_distance

# What the benchmark takes out of a line before it looks whether anything is left.
_TIDIED = (
    (re.compile(r"<bos>|<eos>|<pad>|<unk>"), ""),
    (re.compile(r"\s##(\S)"), r"\1"),
    (re.compile(r"\\\s"), r"\\"),
    (re.compile(r"\s\*\s\*\s"), "**"),
    (re.compile(r"{\s"), "{"),
    (re.compile(r"\s}"), "}"),
)
_NO_TEXT = str.maketrans("*_", "  ")


_MOST_LINES = 5_000


def document_score(answer: str, truth: str) -> float:
    """1 - edit distance / number of nodes of the larger document, in [0, 1].

    Event `tree_too_large`, and 0, where the comparison would take more than about two seconds.
    """
    if max(answer.count("\n"), truth.count("\n")) > _MOST_LINES:
        count_event("tree_too_large")
        return 0.0
    (given, given_size), (right, right_size) = _tree(answer), _tree(truth)
    try:
        distance = tree_distance(given, right, _costs)
    except TreeTooLarge:
        count_event("tree_too_large")
        return 0.0
    return max(0.0, 1 - distance / max(given_size, right_size))


def _tree(document: str) -> tuple[Node, int]:
    """The lines below their headings, those before the first one below a nameless one, and the number of nodes."""
    opening = Node("TITLE")
    root = Node("ROOT", [opening])
    # A line goes below the first node in reading order that is called like the last heading.
    named, heading, below = {"ROOT": root, "TITLE": opening}, "", opening
    size = 2
    for line in map(_tidied, document.split("\n")):
        size += 1
        if line.startswith("#"):
            heading = line.replace("#", "")
            node = Node(heading)
            root.children.append(node)
            below = named.setdefault(heading, node) if heading else opening
        else:
            node = Node(line)
            below.children.append(node)
            named.setdefault(line, node)
    return root, size


def _tidied(line: str) -> str:
    for pattern, replacement in _TIDIED:
        line = pattern.sub(replacement, line)
    return line.translate(_NO_TEXT)


def _costs(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    blank = [np.array([not label.split() for label in labels]) for labels in (first, second)]
    return (blank[0][:, None] | blank[1][None]).astype(float)
