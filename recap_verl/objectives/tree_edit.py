"""Edit distance between ordered trees, for scores that compare tables and documents by their structure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

# Products of the two trees' `work`: what takes about two seconds.
MAX_WORK = 4e7


@dataclass
class Node:
    """A node: what it is compared by, and its children in order."""

    label: object
    children: list["Node"] = field(default_factory=list)


class TreeTooLarge(Exception):
    """Comparing the two trees would take too long."""


def tree_distance(first: Node, second: Node, rename: Callable[[Sequence, Sequence], np.ndarray]) -> float:
    """Least cost of turning one tree into the other: 1 for each node deleted or inserted, `rename` for each changed.

    Zhang and Shasha's algorithm (SIAM J. Comput. 18(6), 1989). A forest's distances to all forests of the other tree
    are one row of arrays, so Python's share of the work grows with the sum of the trees' sizes, not with their product.

    Args:
        rename: of the labels of both trees in postorder, (n, m) costs in [0, 1].

    Raises:
        TreeTooLarge: see `MAX_WORK`.
    """
    a, b = _Postorder(first), _Postorder(second)
    if a.work * b.work > MAX_WORK:
        raise TreeTooLarge
    costs = rename(a.labels, b.labels)
    distance = np.zeros((len(a.labels), len(b.labels)))
    levels = b.segments_by_level()
    for root in a.keyroots:
        _compare(a, root, levels, costs, distance)
    return float(distance[-1, -1])


class _Postorder:
    """A tree as arrays in postorder.

    Attributes:
        left: for each node the leftmost leaf below it.
        keyroots: for each leftmost leaf the highest node above it, ascending.
        work: sum of the sizes of the keyroots' subtrees.
    """

    def __init__(self, root: Node):
        self.labels, left = [], []
        stack = [(root, iter(root.children), 0)]
        while stack:
            node, children, start = stack[-1]
            child = next(children, None)
            if child is not None:
                stack.append((child, iter(child.children), len(left)))
                continue
            stack.pop()
            self.labels.append(node.label)
            left.append(start)
        self.left = np.array(left)
        highest = {start: position for position, start in enumerate(left)}
        self.keyroots = sorted(highest.values())
        self.work = sum(root - left[root] + 1 for root in self.keyroots)

    def segments_by_level(self) -> list["_Segments"]:
        """The keyroots' subtrees, those first that lie in the most others."""
        level = {}
        enclosing: list[int] = []
        for root in reversed(self.keyroots):
            while enclosing and self.left[enclosing[-1]] > root:
                enclosing.pop()
            level[root] = len(enclosing)
            enclosing.append(root)
        roots = [[] for _ in range(max(level.values()) + 1)]
        for root in self.keyroots:
            roots[-1 - level[root]].append(root)
        return [_Segments(self, of_level) for of_level in roots]


class _Segments:
    """Subtrees of several keyroots side by side: for each an empty forest, then its forests in postorder.

    Attributes:
        start: positions of the empty forests.
        node: the node that each other position ends with.
        position: where that is.
        before: the position of the forest in front of the node's subtree.
        whole: whether the forest is one tree from the keyroot's leftmost leaf on.
        inserted: for every position the number of nodes of its forest.
        shift: for every position what keeps running minima within a segment.
    """

    def __init__(self, tree: _Postorder, roots: list[int]):
        lefts = [int(tree.left[root]) for root in roots]
        sizes = [root - left + 1 for root, left in zip(roots, lefts, strict=True)]
        self.start = np.concatenate([[0], np.cumsum([size + 1 for size in sizes])[:-1]]).astype(np.int64)
        self.inserted = np.concatenate([np.arange(size + 1) for size in sizes])
        self.node = np.concatenate([np.arange(left, root + 1) for left, root in zip(lefts, roots, strict=True)])
        self.position = np.concatenate([at + 1 + np.arange(size) for at, size in zip(self.start, sizes, strict=True)])
        left = np.repeat(lefts, sizes)
        self.before = self.position - 1 - (self.node - tree.left[self.node])
        self.whole = tree.left[self.node] == left
        segment = np.repeat(np.arange(len(roots)), np.array(sizes) + 1)
        self.shift = self.inserted + segment * 4.0 * (sum(sizes) + len(tree.labels) + 1)


def _compare(a: _Postorder, root: int, levels: list[_Segments], costs: np.ndarray, distance: np.ndarray) -> None:
    """Distances of the subtrees on the leftmost path of a keyroot to all subtrees."""
    first = int(a.left[root])
    size = root - first + 1
    # Rows are the forests that end with each node of the keyroot's subtree, the empty one first.
    forests = [np.empty((size + 1, len(of_level.inserted))) for of_level in levels]
    for of_level, table in zip(levels, forests, strict=True):
        table[0] = of_level.inserted
    for node in range(first, root + 1):
        row = node - first + 1
        in_front = int(a.left[node]) - first
        on_path = in_front == 0
        for of_level, table in zip(levels, forests, strict=True):
            above = table[row - 1]
            matched = table[in_front][of_level.before] + distance[node, of_level.node]
            if on_path:
                renamed = above[of_level.position - 1] + costs[node, of_level.node]
                matched = np.where(of_level.whole, renamed, matched)
            best = above + 1
            best[of_level.position] = np.minimum(best[of_level.position], matched)
            # Inserting nodes one after the other: a running minimum of what is left when they are taken off.
            table[row] = np.minimum.accumulate(best - of_level.shift) + of_level.shift
            if on_path:
                distance[node, of_level.node[of_level.whole]] = table[row][of_level.position[of_level.whole]]
