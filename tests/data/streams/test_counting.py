"""Counts of distinct samples, and samples drawn from a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jgmm.data.streams import counting
from jgmm.data.streams.chunks import Chunk, chunks_of
from jgmm.data.streams.counting import are_countable, counted
from jgmm.data.streams.reservoir import Reservoir
from jgmm.data.streams.sources import as_source

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("dtype", "d"), [("u1", 1), ("i1", 3), ("u1", 5), ("i2", 1), ("u2", 2), ("i4", 2), ("i8", 1)]
)
def test_what_is_counted_is_what_there_is(dtype: str, d: int) -> None:
    limits = np.iinfo(dtype)
    values = RNG.integers(limits.min, limits.max, (6, d), dtype, endpoint=True)
    rows = values[RNG.integers(6, size=1000)]
    weights = RNG.integers(0, 3, 1000)
    for source, mass in ((rows, np.ones(1000)), ((rows, weights), weights)):
        found = counted(chunks_of(as_source(source), 77))
        assert found is not None
        assert found.n == 1000
        [(distinct, counts)] = found.blocks()
        expected, place = np.unique(rows, axis=0, return_inverse=True)
        order = np.lexsort(distinct.T[::-1])
        np.testing.assert_array_equal(distinct[order], expected)
        np.testing.assert_array_equal(counts[order], np.bincount(place.ravel(), mass))
        assert distinct.dtype == dtype


@pytest.mark.parametrize("rows", [np.zeros((9, 3)), np.zeros((9, 9), np.uint8)])
def test_what_is_too_wide_is_not_counted(rows: Any) -> None:
    assert not are_countable(rows)


def test_what_is_mostly_new_is_not_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_TRIAL", 100)
    read = []

    def source() -> Any:
        for i in range(9):
            read.append(i)
            yield np.arange(100 * i, 100 * i + 100, dtype=np.uint32)[:, None]

    assert counted(chunks_of(as_source(source), 100)) is None
    assert len(read) < 9
    monkeypatch.setattr(counting, "MOST_ROWS", 50)
    few = np.repeat(np.arange(99, dtype=np.uint32), 3)[:, None]
    assert counted(chunks_of(as_source(few), 1000)) is None


def test_a_reservoir_keeps_all_of_few() -> None:
    reservoir = Reservoir(100, 0)
    rows, weights = RNG.normal(size=(100, 2)), RNG.uniform(size=100)
    for chunk in chunks_of(as_source((rows, weights)), 7):
        reservoir.add(chunk)
    features, mass, _ = reservoir.drawn()
    np.testing.assert_array_equal(features, rows)
    np.testing.assert_array_equal(mass, weights)


def test_a_reservoir_is_right_in_the_mean() -> None:
    """For weights all equal, and for some that are most of all."""
    rows = np.arange(2000.0)[:, None]
    for weights in (None, np.where(rows[:, 0] < 10, 1000.0, 1.0)):
        totals, means = [], []
        true = np.ones(2000) if weights is None else weights
        for seed in range(40):
            reservoir = Reservoir(200, seed)
            reservoir.add(Chunk(rows, weights, 2000))
            features, mass, _ = reservoir.drawn()
            assert len(features) == 200
            totals.append(mass.sum() / true.sum())
            means.append(mass @ features[:, 0] / (true @ rows[:, 0]))
        assert abs(np.mean(totals) - 1) < 0.03
        assert abs(np.mean(means) - 1) < 0.05
