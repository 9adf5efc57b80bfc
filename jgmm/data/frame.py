"""The frame of reference of a fit: centred and scaled samples.

In float32 a square of 10,000 hides everything below 6; in this frame all features are of order
one. It also makes a fit equivariant under shift and scale of each feature.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import struct
from jgmm.data.arrays import module_of
from jgmm.data.fold import fold_sum, seen_weights
from jgmm.data.samples import Block, Samples


@struct
class Frame:
    """``x = center + scale * x'`` for each feature."""

    center: Array  # [D]
    scale: Array  # [D], > 0


@struct
class Spread:
    """Weight, mean and squares about it of each feature, of those observed."""

    weight: Array  # [D]
    center: Array  # [D]
    squares: Array  # [D]


def measure(samples: Samples, *, isotropic: bool = False) -> Frame:
    """The weighted mean and standard deviation of each feature, of those observed.

    A feature that does not vary gets the scale of the others, or 1 where none varies. With
    ``isotropic`` one scale serves all features, as methods need that measure plain distances.
    """
    return frame_of(spread_of(samples), isotropic=isotropic)


def spread_of(samples: Samples) -> Spread:
    """How the features of samples are spread out."""
    samples = _as_rows(samples)
    # Two passes: the first mean need only be near, the second corrects it without cancellation.
    rough = _mean(samples, jnp.zeros(samples.features.shape[-1], samples.features.dtype))
    center = _mean(samples, rough)

    def square(block: Block) -> tuple[Array, Array]:
        w = seen_weights(block)
        return jnp.sum(w * (block.features.T - center[:, None]) ** 2, -1), jnp.sum(w, -1)

    total, weight = fold_sum(square, samples).value
    return Spread(weight=weight, center=center, squares=total)


def frame_of(spread: Spread, *, isotropic: bool = False) -> Frame:
    """The frame of samples that are spread out so; on the host for NumPy arrays."""
    weight, center = spread.weight, spread.center
    xp = module_of(center)
    variance = spread.squares / xp.maximum(weight, np.finfo(weight.dtype).tiny)
    # Squares that the dtype cannot hold make no frame, and so a fit that says NONFINITE.
    variance = xp.where(xp.isfinite(variance), variance, xp.nan)
    # What rounding alone can leave of a constant feature does not count as variation.
    noise = (4 * np.finfo(variance.dtype).eps * xp.abs(center)) ** 2
    varies = ~(variance <= noise)
    typical = xp.sum(xp.where(varies, variance, 0)) / xp.maximum(
        xp.sum(varies, dtype=variance.dtype), 1
    )
    typical = xp.where(typical > 0, typical, 1)
    variance = xp.where(varies & (not isotropic), variance, typical)
    return Frame(center=center, scale=xp.sqrt(variance))


def _as_rows(samples: Samples) -> Samples:
    """Features turned back to [B, S, D], to be turned again inside a fold.

    Raw samples then need no array of their own beside the pixels that they are cut from: a
    compiler drops two transpositions, not one.
    """
    return dataclasses.replace(samples, features=samples.features.swapaxes(1, 2))


def _mean(samples: Samples, origin: Array) -> Array:
    """The mean of rows [B, S, D], summed as differences from ``origin``."""

    def shift(block: Block) -> tuple[Array, Array]:
        w = seen_weights(block)
        return jnp.sum(w * (block.features.T - origin[:, None]), -1), jnp.sum(w, -1)

    total, weight = fold_sum(shift, samples).value
    return origin + total / jnp.maximum(weight, np.finfo(weight.dtype).tiny)


def standardize(samples: Samples, frame: Frame) -> Samples:
    """The samples in the frame's units.

    Those of weight 0 come to its center, where they do no harm, and so do features that were not
    observed.
    """

    def block(block: Block) -> Array:
        x = (block.features.T - frame.center[:, None]) / frame.scale[:, None]
        return jnp.where(seen_weights(block) > 0, x, 0)

    # A block at a time: all at once a compiler first makes the array in the pixels' layout.
    return dataclasses.replace(samples, features=lax.map(block, _as_rows(samples).blocks))
