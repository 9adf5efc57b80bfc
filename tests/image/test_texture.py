"""Local deviations of colour: their laws, and what they are for."""

from __future__ import annotations

import numpy as np

from jgmm.image.regions import find_regions
from jgmm.image.texture import local_deviation, with_texture

RNG = np.random.default_rng(0)
COLOURS = RNG.normal([20, 5, -3], [6, 2, 1], (40, 60, 3)).astype(np.float32)
ALL = np.ones((40, 60), bool)


def brute(colours: np.ndarray, inside: np.ndarray, n: int, row: int, column: int) -> float:
    """The sum over the channels of the deviations in a square of n by n pixels."""
    r = n // 2
    window = slice(row - r, row + r + 1), slice(column - r, column + r + 1)
    return float(colours[window][inside[window]].std(axis=0).sum())


def test_it_is_the_deviation_in_a_square() -> None:
    inside = ALL & (RNG.random(ALL.shape) < 0.7)
    garbage = np.where(inside[..., None], COLOURS, 1e4).astype(np.float32)
    deviation = local_deviation(garbage, inside, 0.1)  # 0.1 · √2400 makes 5
    found = with_texture(garbage, deviation)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., :3], garbage)
    np.testing.assert_array_equal(found[..., 3], np.float32(1.5) * deviation)
    for row, column in ((10, 12), (20, 40), (2, 57)):
        expected = brute(COLOURS, inside, 5, row, column)
        np.testing.assert_allclose(deviation[row, column], expected, rtol=1e-4)


def test_shift_and_scale() -> None:
    one = local_deviation(COLOURS, ALL, 0.1)
    np.testing.assert_allclose(local_deviation(COLOURS + 70, ALL, 0.1), one, rtol=1e-3)
    np.testing.assert_allclose(local_deviation(3 * COLOURS, ALL, 0.1), 3 * one, rtol=1e-4)
    assert local_deviation(0 * COLOURS + 7, ALL, 0.1).max() == 0


def test_merging_keeps_textures_of_one_mean_colour_apart() -> None:
    labels = np.zeros((40, 60), int)
    labels[:, 30:] = 1
    colours = np.zeros((40, 60, 3), np.float32)
    colours[:, :30, 0] = np.where(np.mgrid[:40, :30].sum(0) % 2, 10, -10)
    assert find_regions(labels, colours, merge=1.0).max() == 0
    kept = find_regions(
        labels, with_texture(colours, local_deviation(colours, ALL, 0.1)), merge=1.0
    )
    assert len(np.unique(kept)) == 2
