from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jgmm.image.colours import unique_colours

INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


def check(pixels: np.ndarray[Any, Any]) -> None:
    colours, inverse, counts = unique_colours(pixels)
    expected = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(colours, expected[0])
    np.testing.assert_array_equal(inverse, expected[1].reshape(-1))
    np.testing.assert_array_equal(counts, expected[2])
    assert colours.dtype == pixels.dtype
    assert inverse.dtype == np.int32
    assert counts.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(INTEGERS).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    )
)
def test_equals_numpy(pixels: np.ndarray[Any, Any]) -> None:
    check(pixels)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 9])
def test_full_range_of_every_dtype(dtype: type, channels: int) -> None:
    rng = np.random.default_rng(channels)
    info = np.iinfo(dtype)
    few = rng.integers(info.min, info.max, (40, channels), dtype, endpoint=True)
    few[0], few[1] = info.min, info.max
    check(few[rng.integers(0, 40, 300)])


def test_table_and_sorting_agree() -> None:
    rng = np.random.default_rng(0)
    pixels = (rng.normal(0, 3, (600_000, 3)) + 60).astype(np.uint8)
    pixels[0] = 255  # wide enough a range that a few pixels are sorted, and many go by table
    pixels[1] = 0
    colours, inverse, counts = unique_colours(pixels)
    np.testing.assert_array_equal(colours[inverse], pixels)
    assert counts.sum() == len(pixels)
    few, _, _ = unique_colours(pixels[:500])
    assert {*map(tuple, few)} <= {*map(tuple, colours)}
    rank = (colours.astype(np.int64) * [1 << 16, 1 << 8, 1]).sum(axis=1)
    assert (np.diff(rank) > 0).all()


def test_one_colour_and_none() -> None:
    colours, inverse, counts = unique_colours(np.full((5, 3), 7, np.uint8))
    assert colours.tolist() == [[7, 7, 7]]
    assert inverse.tolist() == [0] * 5
    assert counts.tolist() == [5]
    assert [len(part) for part in unique_colours(np.zeros((0, 3), np.uint8))] == [0, 0, 0]


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(TypeError, match="expected integer pixels, got float64"):
        unique_colours(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected pixels \[N, C\], got shape \(2, 2, 3\)"):
        unique_colours(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"got shape \(2, 0\)"):
        unique_colours(np.zeros((2, 0), np.uint8))
