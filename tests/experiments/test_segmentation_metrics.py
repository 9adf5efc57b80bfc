"""Agreement with annotators: against brute force, scikit-image, scikit-learn, and laws."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from skimage.metrics import variation_of_information as skimage_voi
from sklearn.metrics import rand_score

from experiments import metrics

labels = hnp.arrays(np.int64, (4, 6), elements=st.integers(-1, 4))
pairs = st.tuples(labels, labels)


def brute_rand(a: np.ndarray, b: np.ndarray) -> float:
    agree = [(p == q) == (r == s) for (p, r), (q, s) in _pixel_pairs(a, b)]
    return float(np.mean(agree))


def _pixel_pairs(a: np.ndarray, b: np.ndarray) -> list:
    """For each pair of pixels ((a1, b1), (a2, b2))."""
    return list(itertools.combinations(zip(a.ravel(), b.ravel(), strict=True), 2))


def brute_voi(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in set(a.ravel()):
        for j in set(b.ravel()):
            p, q, r = (float(np.mean(m)) for m in (a == i, b == j, (a == i) & (b == j)))
            if r > 0:
                total -= r * (np.log2(r / p) + np.log2(r / q))
    return total


def brute_covering(a: np.ndarray, truths: list[np.ndarray]) -> float:
    total = area = 0.0
    for truth in truths:
        for j in set(truth.ravel()):
            inside = truth == j
            overlap = max(
                np.sum(inside & (a == i)) / np.sum(inside | (a == i)) for i in set(a.ravel())
            )
            total += inside.sum() * overlap
            area += inside.sum()
    return total / area


@given(pairs)
def test_measures_are_what_their_definitions_say(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    table = metrics.overlaps(a, b)
    np.testing.assert_allclose(metrics.rand_index(table), brute_rand(a, b), atol=1e-12)
    np.testing.assert_allclose(metrics.variation_of_information(table), brute_voi(a, b), atol=1e-12)
    found = metrics.agreement(a, [b, a, b[::-1]])
    np.testing.assert_allclose(found.covering, brute_covering(a, [b, a, b[::-1]]), atol=1e-12)
    assert found.segments == len(set(a.ravel()))


@given(pairs)
def test_measures_are_those_of_other_libraries(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    table = metrics.overlaps(a, b)
    np.testing.assert_allclose(
        metrics.rand_index(table), rand_score(a.ravel(), b.ravel()), atol=1e-12
    )
    np.testing.assert_allclose(
        metrics.variation_of_information(table), sum(skimage_voi(a + 1, b + 1)), atol=1e-12
    )


@given(pairs, st.permutations(range(6)))
def test_numbering_does_not_matter(pair: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    a, b = pair
    renamed = np.array(order)[a + 1] * 10_000_019 - 7
    one, other = metrics.agreement(a, [b]), metrics.agreement(renamed, [b])
    for name in ("covering", "voi", "pri"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)


@given(labels)
def test_what_agrees_is_perfect(a: np.ndarray) -> None:
    found = metrics.agreement(a, [a, a])
    np.testing.assert_allclose((found.covering, found.voi, found.pri), (1, 0, 1), atol=1e-12)


def test_photographs_are_pooled_by_what_was_drawn() -> None:
    one = metrics.Agreement(0.5, 2.0, 0.8, pixels=100, segments=3)
    two = metrics.Agreement(0.9, 1.0, 0.9, pixels=300, segments=5)
    assert metrics.pooled([one, two]) == metrics.Agreement(
        pytest.approx(0.8), 1.5, pytest.approx(0.85), 400, 4
    )


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        metrics.overlaps(np.zeros((2, 3)), np.zeros((3, 2)))
