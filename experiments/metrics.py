"""How well a segmentation agrees with those that people drew, as in the BSDS500 benchmark.

All three measures are functions of the table of overlaps n[i, j], the number of pixels that lie in
segment i of the one and in segment j of the other (Arbeláez, Maire, Fowlkes and Malik 2011). They
do not care how segments are numbered, nor whether they are connected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]

_DENSE = 1 << 24  # tables of up to so many cells are counted at once


def overlaps(segmentation: npt.ArrayLike, truth: npt.ArrayLike) -> NdArray:
    """The table of overlaps of two segmentations.

    Args:
        segmentation: integer labels of any shape, any values.
        truth: integer labels of the same shape.

    Returns:
        Numbers of pixels [P, Q], int64, segments in ascending order of their labels.

    Raises:
        ValueError: shapes that differ, or no pixels.

    Example:
        >>> overlaps([[0, 0, 5]], [[1, 2, 2]]).tolist()
        [[1, 1], [0, 1]]
    """
    a, b = np.asarray(segmentation), np.asarray(truth)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected labels of one shape, got {a.shape} and {b.shape}")
    a, p = _compact(a)
    b, q = _compact(b)
    if p * q > _DENSE:
        raise ValueError(f"expected fewer segments, got {p} and {q}")
    return np.bincount(a * q + b, minlength=p * q).reshape(p, q)


def _compact(labels: NdArray) -> tuple[NdArray, int]:
    """Labels [N] from 0 on without gaps, and how many there are."""
    flat = labels.ravel().astype(np.int64)
    low, high = int(flat.min()), int(flat.max())
    if high - low > 1 << 22:
        distinct, inverse = np.unique(flat, return_inverse=True)
        return inverse, len(distinct)
    flat = flat - low
    present = np.bincount(flat, minlength=high - low + 1) > 0
    rank = np.cumsum(present) - 1
    return rank[flat], int(rank[-1]) + 1


def rand_index(table: NdArray) -> float:
    """The share of pairs of pixels on which both agree: together in both, or apart in both.

    Example:
        >>> rand_index(overlaps([0, 0, 1, 1], [0, 0, 0, 1]))
        0.5
    """
    n = float(table.sum())
    if n < 2:
        return 1.0

    def squares(counts: NdArray) -> float:
        return float(np.sum(counts.astype(np.float64) ** 2))

    differ = squares(table.sum(1)) + squares(table.sum(0)) - 2 * squares(table)
    return 1 - differ / (n * (n - 1))


def variation_of_information(table: NdArray) -> float:
    """The bits by which each tells what the other does not, H(A|B) + H(B|A) (Meilă 2007).

    Example:
        >>> variation_of_information(overlaps([0, 0, 1, 1], [0, 0, 0, 0]))
        1.0
    """
    joint = table / table.sum()

    def entropy(p: NdArray) -> float:
        p = p[p > 0]
        return float(-np.sum(p * np.log2(p)))

    return max(0.0, 2 * entropy(joint) - entropy(joint.sum(1)) - entropy(joint.sum(0)))


def covered(table: NdArray) -> float:
    """The number of pixels of the truth that are covered.

    Each segment of the truth counts its area times the overlap (intersection over union) with the
    segment that overlaps it best.

    Example:
        >>> covered(overlaps([0, 0, 1, 1], [0, 0, 0, 0]))
        2.0
    """
    rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    best = np.max(table / (rows + columns - table), axis=0)
    return float(np.sum(columns[0] * best))


@dataclass(frozen=True)
class Agreement:
    """How well a segmentation agrees with what several people drew.

    Attributes:
      covering: segmentation covering, pooled over annotators; 1 is best.
      voi: variation of information in bits, mean over annotators; 0 is best.
      pri: probabilistic Rand index; 1 is best.
      pixels: pixels times annotators, by which coverings of several photographs are pooled.
      segments: in the segmentation.
    """

    covering: float
    voi: float
    pri: float
    pixels: int
    segments: int


def agreement(segmentation: npt.ArrayLike, truths: Sequence[NdArray] | NdArray) -> Agreement:
    """Compare labels [H, W] with annotations [A, H, W].

    Example:
        >>> agreement([[0, 0, 1]], [np.array([[4, 4, 2]])])
        Agreement(covering=1.0, voi=0.0, pri=1.0, pixels=3, segments=2)
    """
    tables = [overlaps(segmentation, truth) for truth in truths]
    pixels = int(sum(table.sum() for table in tables))
    return Agreement(
        covering=sum(covered(table) for table in tables) / pixels,
        voi=float(np.mean([variation_of_information(table) for table in tables])),
        pri=float(np.mean([rand_index(table) for table in tables])),
        pixels=pixels,
        segments=len(tables[0]),
    )


def pooled(agreements: Sequence[Agreement]) -> Agreement:
    """Several photographs: coverings pooled over all that was drawn, the others as means.

    That is how the BSDS500 benchmark collects them.
    """
    pixels = sum(a.pixels for a in agreements)
    return Agreement(
        covering=sum(a.covering * a.pixels for a in agreements) / pixels,
        voi=float(np.mean([a.voi for a in agreements])),
        pri=float(np.mean([a.pri for a in agreements])),
        pixels=pixels,
        segments=round(float(np.mean([a.segments for a in agreements]))),
    )
