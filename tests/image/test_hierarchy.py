"""All scales of an image: nested, the same as merging step by step, and the map of boundaries."""

from __future__ import annotations

import dataclasses
import heapq
import math
import pickle
import time

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given
from skimage.measure import label

import jgmm
from jgmm.image.hierarchy import Cues, Hierarchy, connected_parts, hierarchy_of, tree_of
from jgmm.image.merging import Graph
from jgmm.image.regions import find_regions

RNG = np.random.default_rng(1)
small = hnp.arrays(np.int64, (5, 7), elements=st.integers(-1, 3))


def colours_of(labels: np.ndarray) -> np.ndarray:
    """No two distances alike, so that the order of merging is one."""
    noise = np.random.default_rng(0).normal(size=(*labels.shape, 2))
    return labels[..., None] * [1.0, 0.3] + 0.2 * noise


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len(set(a.ravel().tolist())) == len(set(b.ravel().tolist()))


def merged_up_to(
    labels: np.ndarray, colours: np.ndarray, least: int, merge: float, cues: Cues
) -> np.ndarray:
    """Merging that stops at a cost, as it was done before there was a tree."""
    parts = connected_parts(labels)
    if parts.max() < 0:
        return parts
    graph = Graph(parts, colours)
    graph.absorb(least)
    names = np.arange(parts.max() + 2)
    for kept, gone in reversed(graph.joins):
        names[gone] = names[kept]
    _, rows = np.unique(names[:-1], return_inverse=True)
    graph.describe(cues(np.append(rows, -1)[parts]), rows)
    limit = merge * math.sqrt(parts.size)
    queue = [(c, i, j) for i in range(len(graph.sizes)) for c, j in graph.costs_of(i) if c < limit]
    heapq.heapify(queue)
    while queue:
        cost, i, j = heapq.heappop(queue)
        if (cost, j) in graph.costs_of(i):  # neighbours still, and neither has changed
            kept = graph.join(i, j)
            for c, other in graph.costs_of(kept):
                if c < limit:
                    heapq.heappush(queue, (c, kept, other))
    graph.absorb(least)
    names = np.arange(parts.max() + 2)
    for kept, gone in reversed(graph.joins):
        names[gone] = names[kept]
    names[-1] = -1
    return names[parts]


def cues_of(parts: np.ndarray) -> list[np.ndarray]:
    """How the pixels of each part are distributed over three and over five."""
    sizes = np.bincount(parts[parts >= 0])[:, None]
    rng = np.random.default_rng(2)
    return [sizes * rng.dirichlet(np.ones(n), len(sizes)) for n in (3, 5)]


def no_cues(parts: np.ndarray) -> list[np.ndarray]:
    return []


@given(small, st.sampled_from([0, 3]), st.floats(0, 3), st.booleans())
def test_a_cut_is_what_merging_up_to_a_cost_makes(
    labels: np.ndarray, least: int, merge: float, with_cues: bool
) -> None:
    colours, cues = colours_of(labels), cues_of if with_cues else no_cues
    tree = tree_of(connected_parts(labels), colours, least, cues)
    expected = merged_up_to(labels, colours, least, merge, cues)
    found = tree.cut(merge=merge)
    assert same_partition(found, expected)
    if (least or merge) and not with_cues:
        again = hierarchy_of(labels, colours, min_region=least)
        np.testing.assert_array_equal(again.costs, tree.costs)
        options = {"min_region": least, "merge": merge}
        np.testing.assert_array_equal(find_regions(labels, colours, **options), found)


@given(small)
def test_cuts_are_nested_and_as_many_as_asked_for(labels: np.ndarray) -> None:
    tree = hierarchy_of(labels, colours_of(labels))
    finest = connected_parts(labels)
    assert same_partition(tree.cut(merge=0), finest)
    before = finest
    islands = label(labels >= 0, connectivity=1).max()
    assert tree.fewest == islands
    for n in range(tree.n_regions, 0, -1):
        found = tree.cut(n_regions=n)
        assert found.max() + 1 == max(n, islands)
        pairs = set(zip(before.ravel().tolist(), found.ravel().tolist(), strict=True))
        assert len(pairs) == len(set(before.ravel().tolist()))
        before = found
    np.testing.assert_array_equal(tree.cut(n_regions=1000), tree.cut(merge=0))


@given(small, st.sampled_from([0, 3]))
def test_below_a_strength_the_contours_are_the_cut(labels: np.ndarray, least: int) -> None:
    tree = hierarchy_of(labels, colours_of(labels), min_region=least)
    contours, strengths = tree.contours(), tree.strengths
    height, width = labels.shape
    assert contours.shape == (2 * height - 1, 2 * width - 1)
    middle = (strengths[1:] + strengths[:-1]) / 2
    for merge in [*middle[np.diff(strengths) > 1e-6], 1e6]:
        inside = contours <= merge
        inside[::2, ::2] &= labels >= 0
        inside[1::2, 1::2] = False
        inside[1::2, ::2] &= (labels[1:] >= 0) & (labels[:-1] >= 0)
        inside[::2, 1::2] &= (labels[:, 1:] >= 0) & (labels[:, :-1] >= 0)
        connected = np.where(labels >= 0, label(inside, connectivity=1)[::2, ::2] - 1, -1)
        assert same_partition(connected, tree.cut(merge=merge))


@given(small, hnp.arrays(np.int64, 36, elements=st.integers(-2, 2)), st.sampled_from([0, 3]))
def test_different_known_labels_are_never_joined(
    labels: np.ndarray, of_parts: np.ndarray, least: int
) -> None:
    parts, colours = connected_parts(labels), colours_of(labels)
    label_of = np.append(np.maximum(of_parts[: parts.max() + 1], -1), -1)
    known = label_of[parts]
    tree = tree_of(parts, colours, least, known=known)
    assert tree.fewest == tree.n_regions - len(tree.costs)
    before, contours = parts, tree.contours()
    for n in range(tree.n_regions, 0, -1):
        found = tree.cut(n_regions=n)
        assert found.max() + 1 == max(n, tree.fewest)
        pairs = set(zip(before.ravel().tolist(), found.ravel().tolist(), strict=True))
        assert len(pairs) == len(set(before.ravel().tolist()))
        before = found
        for i in range(found.max() + 1):
            assert len({*known[found == i].tolist()} - {-1}) <= 1
    # Nothing is left to join in the last, and what stays apart is infinitely strong.
    for down, one, other, between in (
        (True, before[1:], before[:-1], contours[1::2, ::2]),
        (False, before[:, 1:], before[:, :-1], contours[::2, 1::2]),
    ):
        touch = (one != other) & (one >= 0) & (other >= 0)
        of_region = np.array([known[before == i].max() for i in range(before.max() + 1)] or [-1])
        mine, theirs = of_region[one[touch]], of_region[other[touch]]
        assert ((mine >= 0) & (theirs >= 0) & (mine != theirs)).all()
        left_out = (one < 0) != (other < 0)
        np.testing.assert_array_equal(np.isinf(between), touch | left_out, err_msg=str(down))
    # Small parts are left only where all neighbours are of another label.
    finest = tree.cut(merge=0)
    for i in range(finest.max() + 1):
        inside = finest == i
        if inside.sum() < least and known[inside].max() < 0:
            grown = np.zeros_like(inside)
            grown[1:] |= inside[:-1]
            grown[:-1] |= inside[1:]
            grown[:, 1:] |= inside[:, :-1]
            grown[:, :-1] |= inside[:, 1:]
            assert (finest[grown & ~inside] < 0).all()
    if (known < 0).all():
        np.testing.assert_array_equal(tree.costs, tree_of(parts, colours, least).costs)


def test_a_joined_region_has_the_label_of_what_it_was_joined_from() -> None:
    # 0 and 1 are joined first, as they are most alike, and then 2, which is not like 3 at all.
    parts = np.array([[0, 1, 2, 3]] * 3)
    colours = np.array([0.0, 1.0, 1.5, 9.0])[parts][..., None]
    free = tree_of(parts, colours)
    assert free.cut(n_regions=2)[0].tolist() == [0, 0, 0, 1]
    known = np.array([[0, -1, 1, -1]] * 3)
    tree = tree_of(parts, colours, known=known)
    assert tree.cut(n_regions=3)[0].tolist() == [1, 0, 0, 2]
    assert tree.cut(n_regions=1)[0].tolist() == tree.cut(merge=1e9)[0].tolist() == [1, 0, 0, 0]
    assert tree.fewest == 2
    assert np.isinf(tree.contours()[0]).tolist() == [False, True, *[False] * 5]
    with pytest.raises(ValueError, match="known: expected labels"):
        tree_of(parts, colours, known=known[:2])


def test_a_cut_takes_milliseconds() -> None:
    labels = RNG.integers(0, 4, (200, 300))
    tree = tree_of(connected_parts(labels), RNG.random((200, 300, 3)), min_region=4)
    assert tree.n_regions > 500
    taken = []
    for n in (2, 20, 200):
        began = time.perf_counter()
        assert tree.cut(n_regions=n).max() == n - 1
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.05


def test_wrong_cuts() -> None:
    labels = np.zeros((3, 4), int)
    tree = hierarchy_of(labels, colours_of(labels))
    for options in ({}, {"n_regions": 2, "merge": 1.0}, {"n_regions": 0}, {"merge": -1.0}):
        with pytest.raises(ValueError, match=r"expected|merge"):
            tree.cut(**options)


IMAGE = np.clip(
    np.kron(RNG.uniform(20, 230, (4, 5, 3)), np.ones((6, 6, 1))) + RNG.normal(0, 6, (24, 30, 3)),
    0,
    255,
).astype(np.uint8)
QUICK = {"max_iter": 20, "search": "none", "tol": 1e-3}


def test_a_segmentation_has_all_scales() -> None:
    plain = jgmm.segment(IMAGE, 4, **QUICK)
    tree = plain.hierarchy
    assert isinstance(tree, Hierarchy)
    assert plain.hierarchy is tree
    np.testing.assert_array_equal(tree.cut(merge=0), plain.regions)
    merged = jgmm.segment(IMAGE, 4, merge=1.5, **QUICK)
    np.testing.assert_array_equal(merged.regions, tree.cut(merge=1.5))
    np.testing.assert_array_equal(merged.hierarchy.cut(merge=0), plain.regions)
    six = jgmm.segment(IMAGE, 4, n_regions=6, **QUICK)
    np.testing.assert_array_equal(six.regions, tree.cut(n_regions=6))
    again = jgmm.apply(six, IMAGE)
    np.testing.assert_array_equal(again.regions, six.regions)
    # What is kept belongs to the arrays that it was made of, and is no part of the value.
    other = dataclasses.replace(plain, parts=plain.parts[::-1].copy())
    assert other.hierarchy is not tree
    assert jax.tree.structure(plain) == jax.tree.structure(merged) or plain.setup != merged.setup
    assert plain == pickle.loads(pickle.dumps(plain))
    assert dataclasses.replace(plain, fit=plain.fit).hierarchy.n_regions == tree.n_regions


def test_merge_or_a_number() -> None:
    with pytest.raises(ValueError, match="one of merge and n_regions"):
        jgmm.segment(IMAGE, 2, merge=1.0, n_regions=3)
    with pytest.raises(ValueError, match="n_regions"):
        jgmm.segment(IMAGE, 2, n_regions=0)
    with pytest.raises(TypeError, match="n_regions"):
        jgmm.segment(IMAGE, 2, n_regions=2.5)
