"""Passes over samples of which some features are missing (Ghahramani and Jordan 1994).

Missing features are integrated out: the density of a sample is that of its observed features, and
what the component expects of the others, with its uncertainty, takes their place in the moments.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import Array
from jax.lax import linalg

from jgmm._struct import struct
from jgmm.data.products import dot, einsum
from jgmm.data.samples import Block
from jgmm.families.kernels import Kernel, Moments, Sums, Whitened

_FEW = 6  # features, of which each is a few operations of a program on vectors


@struct
class VarianceGapKernel(Kernel):
    """Features that are independent within components."""

    means: Array  # [K, D]
    deviations: Array  # [K, D]

    def evaluate(self, block: Block) -> Whitened:
        """Of a missing feature the mean 0 and the variance 1 are expected."""
        mask = _mask(block)
        gaps = block.features[:, None] - self.means.T[:, :, None]
        y = mask[:, None] * gaps / self.deviations.T[:, :, None]
        return Whitened(
            energy=-0.5 * jnp.sum(y**2, axis=0),
            half_log_det=dot(jnp.log(self.deviations), mask),
            n_observed=jnp.sum(mask, axis=0),
            y=y,
            spread=jnp.broadcast_to(1 - mask[:, None], y.shape),  # [D, K, S]
        )

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """The moments themselves."""
        y, spread = whitened.y, whitened.spread
        assert y is not None
        assert spread is not None
        return (
            jnp.sum(u, axis=1),
            einsum("ks,iks->ki", u, y),
            einsum("ks,iks->ki", u, y**2) + einsum("ks,iks->ki", r, spread),
        )

    def moments(self, total: Sums) -> Moments:
        """As they are."""
        counts, shifts, scatters = total
        return counts, shifts, scatters


@struct
class MatrixGapKernel(Kernel):
    """Covariance matrices, one for each component."""

    means: Array  # [K, D]
    covariances: Array  # [K, D, D]

    def evaluate(self, block: Block) -> Whitened:
        """The expected whitened samples, and their covariances."""
        mask = _mask(block)
        gaps = mask[:, None] * (block.features[:, None] - self.means.T[:, :, None])
        lower = jnp.linalg.cholesky(self.covariances)
        if len(mask) <= _FEW:
            y, spread, half_log_det = _by_features(lower, gaps, mask)
        else:
            y, spread, half_log_det = _by_factors(self.covariances, lower, gaps, mask)
        return Whitened(
            energy=-0.5 * jnp.sum(y**2, axis=0),
            half_log_det=half_log_det,
            n_observed=jnp.sum(mask, axis=0),
            y=y,
            spread=spread,  # [D, D, K, S]
        )

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """The moments themselves."""
        y, spread = whitened.y, whitened.spread
        assert y is not None
        assert spread is not None
        scatters = jnp.sum(u * y[:, None] * y + r * spread, axis=-1)
        return jnp.sum(u, axis=1), einsum("ks,iks->ki", u, y), jnp.moveaxis(scatters, -1, 0)

    def moments(self, total: Sums) -> Moments:
        """As they are."""
        counts, shifts, scatters = total
        return counts, shifts, scatters


def _by_features(lower: Array, gaps: Array, mask: Array) -> tuple[Array, Array, Array]:
    """What is expected of y, its covariance, and half the log determinant of what was observed.

    A feature is l·y + μ, with l its row in L: y becomes known along l. Of rows that are made
    orthogonal to those before (Gram and Schmidt, twice, which is enough: Giraud et al. 2005) what
    is known adds up, and in all other directions the covariance stays 1. Everything is vectors
    [K, S], one for each entry.

    Args:
        lower: [K, D, D].
        gaps: [D, K, S], of what was observed from the means; 0 else.
        mask: [D, S], 1 where observed.
    """
    d, nothing = len(mask), jnp.zeros_like(gaps[0])
    known: list[list[Array]] = []  # directions [K, S] each, 0 where not observed
    y, half_log_det = [nothing] * d, nothing
    for j in range(d):
        row = [nothing + lower[:, j, i, None] if i <= j else nothing for i in range(d)]
        gap = gaps[j] - _product(row, y)
        for direction in 2 * known:
            along = _product(direction, row)
            row = [a - along * b for a, b in zip(row, direction, strict=True)]
        length = jnp.sqrt(jnp.where(mask[j] > 0, _product(row, row), 1))
        new = [a * mask[j] / length for a in row]
        y = [a + b * gap / length for a, b in zip(y, new, strict=True)]
        half_log_det = half_log_det + jnp.log(length)
        known.append(new)
    spread = [
        [float(i == j) - sum(new[i] * new[j] for new in known) for j in range(d)] for i in range(d)
    ]
    return jnp.stack(y), jnp.stack([jnp.stack(row) for row in spread]), half_log_det


def _product(a: list[Array], b: list[Array]) -> Array:
    return functools.reduce(jnp.add, (x * y for x, y in zip(a, b, strict=True)))


def _by_factors(
    covariances: Array, lower: Array, gaps: Array, mask: Array
) -> tuple[Array, Array, Array]:
    """The same as `_by_features`, by a factorisation for each sample.

    With O the projection on what is observed and A = O Σ O + (1 - O), that is
    Lᵀ O A⁻¹ O (x - μ), and its covariance is 1 - Lᵀ O A⁻¹ O L.
    """
    d, o = len(mask), mask.T
    eye = jnp.eye(d, dtype=mask.dtype)
    inner = covariances[:, None] * o[:, :, None] * o[:, None, :]
    factor = jnp.linalg.cholesky(inner + (1 - o)[:, :, None] * eye)
    seen = o[:, :, None] * lower[:, None]
    sides = jnp.concatenate([seen, gaps.transpose(1, 2, 0)[..., None]], axis=-1)
    solved = linalg.triangular_solve(factor, sides, left_side=True, lower=True)
    a, u = solved[..., :d], solved[..., d]
    return (
        einsum("ksij,ksi->jks", a, u),
        jnp.moveaxis(eye - einsum("ksij,ksil->ksjl", a, a), (2, 3), (0, 1)),
        jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1),
    )


def _mask(block: Block) -> Array:
    """1 where a feature was observed, [D, S]."""
    assert block.observed is not None
    return block.observed.astype(block.features.dtype)
