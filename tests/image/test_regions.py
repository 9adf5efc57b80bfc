"""Connected regions, against plain loops on small images."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jgmm.image.hierarchy import hierarchy_of
from jgmm.image.regions import find_regions

small = hnp.arrays(np.int64, (5, 7), elements=st.integers(-1, 2))


def grey(labels: np.ndarray) -> np.ndarray:
    return labels[..., None].astype(float)


def flood(labels: np.ndarray) -> np.ndarray:
    """Regions by following each pixel's four neighbours."""
    out = np.full(labels.shape, -1)
    count = 0
    for place in np.argwhere(labels >= 0):
        if out[tuple(place)] >= 0:
            continue
        stack = [tuple(place)]
        while stack:
            i, j = stack.pop()
            if out[i, j] >= 0:
                continue
            out[i, j] = count
            for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                inside = 0 <= a < labels.shape[0] and 0 <= b < labels.shape[1]
                if inside and labels[a, b] == labels[i, j]:
                    stack.append((a, b))
        count += 1
    return out


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len(set(a.ravel().tolist())) == len(set(b.ravel().tolist()))


@given(small)
def test_regions_are_the_connected_parts(labels: np.ndarray) -> None:
    found = find_regions(labels, grey(labels))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found < 0, labels < 0)
    assert same_partition(found, flood(labels))
    sizes = np.bincount(found[found >= 0], minlength=1)
    assert (np.diff(sizes) <= 0).all()


@given(small, st.integers(2, 9))
def test_no_small_region_has_a_neighbour(labels: np.ndarray, least: int) -> None:
    found = find_regions(labels, grey(labels), min_region=least)
    whole = flood(np.where(labels >= 0, 0, -1))
    for region in range(found.max() + 1):
        inside = found == region
        island = whole == whole[inside][0]
        assert inside.sum() >= least or (inside == island).all()


@given(small, st.floats(0.01, 3))
def test_merging_only_joins(labels: np.ndarray, merge: float) -> None:
    fine = find_regions(labels, grey(labels))
    coarse = find_regions(labels, grey(labels), merge=merge)
    assert len(set(zip(fine.ravel(), coarse.ravel(), strict=True))) == len(set(fine.ravel()))
    assert same_partition(flood(coarse), coarse)


def test_small_regions_go_to_the_neighbour_of_the_nearest_colour() -> None:
    labels = np.repeat([[0, 0, 0, 1, 2, 2, 2]], 3, axis=0)
    colours = np.select([labels == 0, labels == 1], [0.0, 0.6], 1.0)[..., None]
    found = find_regions(labels, colours, min_region=4)
    assert found[0].tolist() == [1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("apart", [5.0, 2.0])
def test_merging_costs_what_mumford_and_shah_say(apart: float) -> None:
    # 12 and 9 pixels, 5 apart, a border of 3: 12 * 9 / 21 * 5 ** 2 / 3; other steps to 1.25.
    labels = np.repeat([[0, 0, 0, 0, 1, 1, 1]], 3, axis=0)
    cost = 12 * 9 / 21 * apart * 5 * (apart / 5) ** 1.25 / 3 / np.sqrt(21)
    for factor, count in ((0.999, 2), (1.001, 1)):
        found = find_regions(labels, apart * grey(labels), merge=cost * factor)
        assert found.max() + 1 == count


def test_a_border_with_gaps_costs_less() -> None:
    # Both have the same mean colours and nearly the same mean of squared steps: along one border
    # all is 5 apart, along the other there is no step for 12 pixels of 16, and one of 10 for 4.
    labels = np.repeat([[0] * 8 + [1] * 8], 16, axis=0)
    even, gaps = 5.0 * grey(labels), 5.0 * grey(labels)
    gaps[:12, 4:12] = 2.5
    gaps[12:, 4:8], gaps[12:, 8:12] = -2.5, 7.5
    gaps[:, :4] -= gaps[:, :8].mean() * 2
    gaps[:, 12:] += (5 - gaps[:, 8:].mean()) * 2
    for values in (even, gaps):
        means = [values[labels == i].mean() for i in (0, 1)]
        np.testing.assert_allclose(means, [0, 5], atol=1e-12)
    costs = [hierarchy_of(labels, values).costs[0] for values in (even, gaps)]
    assert costs[1] < 0.25 * costs[0]


def test_the_cheapest_go_first() -> None:
    # 0 and 1 are nearer than 1 and 2; once they are one, 2 is too far to join.
    labels = np.repeat([[0] * 4 + [1] * 4 + [2] * 4], 4, axis=0)
    colours = np.select([labels == 0, labels == 1], [0.0, 1.0], 2.5)[..., None]
    limit = 2 * 1.5 * 5 * (1.5 / 5) ** 1.25 / np.sqrt(48)  # what joining 1 and 2 would cost
    found = find_regions(labels, colours, merge=limit * 1.01)
    assert found[0].tolist() == [0] * 8 + [1] * 4


def test_nothing_takes_part() -> None:
    nothing = np.full((3, 4), -1)
    assert (find_regions(nothing, grey(nothing), min_region=5, merge=1.0) == -1).all()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="labels"):
        find_regions(np.zeros((3, 4)), np.zeros((3, 4, 1)))
    with pytest.raises(ValueError, match="colours"):
        find_regions(np.zeros((3, 4), int), np.zeros((4, 4, 1)))
