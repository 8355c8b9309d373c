"""Edit distances between trees, against the definition spelt out."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_verl.objectives import tree_edit
from recap_verl.objectives.tree_edit import Node, TreeTooLarge, tree_distance

nodes = st.recursive(
    st.builds(Node, st.integers(0, 4)),
    lambda inner: st.builds(Node, st.integers(0, 4), st.lists(inner, max_size=4)),
    max_leaves=8,
)


def cost(first, second):
    return np.abs(np.array(first)[:, None] - np.array(second)[None]) / 4


def as_tuple(node):
    return node.label, tuple(map(as_tuple, node.children))


def size(forest):
    return sum(1 + size(children) for _, children in forest)


@functools.cache
def forest_distance(first, second):
    """The last tree's root is deleted, inserted, or changed."""
    if not first or not second:
        return size(first) + size(second)
    (a, below_a), (b, below_b) = first[-1], second[-1]
    return min(
        forest_distance(first[:-1] + below_a, second) + 1,
        forest_distance(first, second[:-1] + below_b) + 1,
        forest_distance(first[:-1], second[:-1]) + forest_distance(below_a, below_b) + abs(a - b) / 4,
    )


@settings(max_examples=500, deadline=None)
@given(nodes, nodes)
def test_it_is_the_least_cost(first, second):
    expected = forest_distance((as_tuple(first),), (as_tuple(second),))
    assert tree_distance(first, second, cost) == pytest.approx(expected)
    assert tree_distance(second, first, cost) == pytest.approx(expected)


def test_what_would_take_too_long_is_not_begun(monkeypatch):
    monkeypatch.setattr(tree_edit, "MAX_WORK", 8)
    assert tree_distance(Node(0, [Node(1)]), Node(0, [Node(1), Node(2)]), cost) == 1
    with pytest.raises(TreeTooLarge):
        tree_distance(Node(0, [Node(1), Node(2)]), Node(0, [Node(1), Node(2)]), cost)
