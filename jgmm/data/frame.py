"""The frame of reference of a fit: centred and scaled samples, and the way back.

In float32 a square of 10,000 hides everything below 6; in this frame all features are of order
one. It also makes a fit equivariant under shift and scale of each feature.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import struct
from jgmm.data.fold import Blocks, fold_sum
from jgmm.mixture.mixture import Mixture


@struct
class Frame:
    """``x = center + scale * x'`` for each feature."""

    center: Array  # [D]
    scale: Array  # [D], > 0


def measure(blocks: Blocks, *, isotropic: bool = False, missing: bool = False) -> Frame:
    """The weighted mean and standard deviation of each feature.

    A feature that does not vary gets the scale of the others, or 1 where none varies. With
    ``isotropic`` one scale serves all features, as methods need that measure plain distances.
    With ``missing``, features that are NaN do not count.
    """
    # Turned back inside the fold, so that raw samples need no array of their own beside the
    # pixels that they are cut from: a compiler drops two transpositions, not one.
    blocks = dataclasses.replace(blocks, samples=blocks.samples.swapaxes(1, 2))
    # Two passes: the first mean need only be near, the second corrects it without cancellation.
    rough = _mean(blocks, jnp.zeros(blocks.samples.shape[-1], blocks.samples.dtype), missing)
    center = _mean(blocks, rough, missing)

    def square(rows: Array, w: Array) -> tuple[Array, Array]:
        x = rows.T
        if missing:
            x, w = _observed(x, w, center)
        return jnp.sum(w * (x - center[:, None]) ** 2, -1), jnp.sum(w, -1)

    (total, weight), _ = fold_sum(square, blocks)
    variance = total / jnp.maximum(weight, np.finfo(weight.dtype).tiny)
    # What rounding alone can leave of a constant feature does not count as variation.
    noise = (4 * np.finfo(variance.dtype).eps * jnp.abs(center)) ** 2
    varies = variance > noise
    typical = jnp.sum(jnp.where(varies, variance, 0)) / jnp.maximum(
        jnp.sum(varies, dtype=variance.dtype), 1
    )
    typical = jnp.where(typical > 0, typical, 1)
    variance = jnp.where(varies & (not isotropic), variance, typical)
    return Frame(center=center, scale=jnp.sqrt(variance))


def _observed(x: Array, w: Array, fill: Array) -> tuple[Array, Array]:
    """Samples with what is missing filled in, and the weights [D, S] of what is not."""
    seen = ~jnp.isnan(x)
    return jnp.where(seen, x, fill[:, None]), jnp.where(seen, w, 0)


def _mean(blocks: Blocks, origin: Array, missing: bool) -> Array:
    """The mean of rows [B, S, D], summed as differences from ``origin``."""

    def shift(rows: Array, w: Array) -> tuple[Array, Array]:
        x = rows.T
        if missing:
            x, w = _observed(x, w, origin)
        return jnp.sum(w * (x - origin[:, None]), -1), jnp.sum(w, -1)

    (total, weight), _ = fold_sum(shift, blocks)
    return origin + total / jnp.maximum(weight, np.finfo(weight.dtype).tiny)


def enter(blocks: Blocks, frame: Frame) -> Blocks:
    """The samples in the frame's units; those of weight 0 at its center, where they do no harm."""

    def block(piece: tuple[Array, Array]) -> Array:
        rows, weights = piece
        samples = (rows.T - frame.center[:, None]) / frame.scale[:, None]
        return jnp.where(weights > 0, samples, 0)

    # A block at a time: all at once a compiler first makes the array in the pixels' layout.
    rows = blocks.samples.swapaxes(1, 2)
    return dataclasses.replace(blocks, samples=lax.map(block, (rows, blocks.weights)))


def mixture_enter(mixture: Mixture, frame: Frame) -> Mixture:
    """A mixture of the data, as a mixture of the samples in the frame."""
    return Mixture(
        weights=mixture.weights,
        means=(mixture.means - frame.center) / frame.scale,
        covariances=_rescale(mixture.covariances, 1 / frame.scale),
    )


def mixture_leave(mixture: Mixture, frame: Frame) -> Mixture:
    """A mixture of the samples in the frame, as a mixture of the data."""
    return Mixture(
        weights=mixture.weights,
        means=mixture.means * frame.scale + frame.center,
        covariances=_rescale(mixture.covariances, frame.scale),
    )


def _rescale(covariances: Array, scale: Array) -> Array:
    if covariances.ndim == 3:
        return covariances * scale[:, None] * scale[None, :]
    # Spherical covariances [K, 1] live in isotropic frames, where every scale is the first.
    return covariances * (scale**2)[: covariances.shape[-1]]
