"""Passes over samples of which some features are missing (Ghahramani and Jordan 1994).

Missing features are integrated out: the density of a sample is that of its observed features, and
what the component expects of the others, with its uncertainty, takes their place in the moments.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.lax import linalg

from jgmm._struct import struct
from jgmm.data.products import dot, einsum
from jgmm.data.samples import Block
from jgmm.families.kernels import Kernel, Moments, Sums, Whitened


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
        """The expected whitened samples, from a factorisation for each sample.

        With O the projection on what is observed and A = O Σ O + (1 - O), that is
        Lᵀ O A⁻¹ O (x - μ), and its covariance is 1 - Lᵀ O A⁻¹ O L.
        """
        mask = _mask(block)
        o = mask.T
        d = self.means.shape[1]
        eye = jnp.eye(d, dtype=mask.dtype)
        lower = jnp.linalg.cholesky(self.covariances)
        inner = self.covariances[:, None] * o[:, :, None] * o[:, None, :]
        factor = jnp.linalg.cholesky(inner + (1 - o)[:, :, None] * eye)
        gap = o * (block.features.T - self.means[:, None])
        sides = jnp.concatenate([o[:, :, None] * lower[:, None], gap[..., None]], axis=-1)
        solved = linalg.triangular_solve(factor, sides, left_side=True, lower=True)
        a, u = solved[..., :d], solved[..., d]
        return Whitened(
            energy=-0.5 * jnp.sum(u**2, axis=-1),
            half_log_det=jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1),
            n_observed=jnp.sum(mask, axis=0),
            y=einsum("ksij,ksi->jks", a, u),
            spread=eye - einsum("ksij,ksil->ksjl", a, a),  # [K, S, D, D]
        )

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """The moments themselves."""
        y = whitened.y
        scatters = einsum("ks,iks,jks->kij", u, y, y) + einsum("ks,ksij->kij", r, whitened.spread)
        return jnp.sum(u, axis=1), einsum("ks,iks->ki", u, y), scatters

    def moments(self, total: Sums) -> Moments:
        """As they are."""
        counts, shifts, scatters = total
        return counts, shifts, scatters


def _mask(block: Block) -> Array:
    """1 where a feature was observed, [D, S]."""
    assert block.observed is not None
    return block.observed.astype(block.features.dtype)
