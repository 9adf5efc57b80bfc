"""The pass over samples with features missing, for covariances Λ Λᵀ + Ψ.

All in units of √Ψ, with W the loadings and O the projection on what was observed. Given that, the
factors have the covariance V = (1 + Wᵀ O W)⁻¹, one for each sample, of q × q; what is missing is
expected where they put it. Products with the mask make everything else, so that nothing has both a
sample axis and two of features.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.lax import linalg

from jgmm._struct import struct
from jgmm.data.products import einsum
from jgmm.data.samples import Block
from jgmm.families.kernels import Kernel, Moments, Sums, Whitened
from jgmm.families.low_rank import Core, apply_form, inverse_form


@struct
class FactorGapKernel(Kernel):
    """All components."""

    means: Array  # [K, D]
    core: Core

    def evaluate(self, block: Block) -> Whitened:
        """What is expected of the factors, and what they leave of the observed features."""
        assert block.observed is not None
        mask = block.observed.astype(block.features.dtype)  # [D, S]
        core, w = self.core, self.core.loadings
        q = w.shape[-1]
        eye = jnp.eye(q, dtype=mask.dtype)
        gaps = mask * (block.features - self.means[..., None]) / core.scale[..., None]  # [K, D, S]
        squares = w[..., :, None] * w[..., None, :]
        lower = jnp.linalg.cholesky(eye + einsum("ds,kdij->ksij", mask, squares))
        wide = jnp.broadcast_to(eye, lower.shape)
        half = linalg.triangular_solve(lower, wide, left_side=True, lower=True)
        spread = einsum("ksai,ksaj->ksij", half, half)  # V
        z = einsum("ksij,kdj,kds->kis", spread, w, gaps)
        left = gaps - mask * einsum("kdi,kis->kds", w, z)
        logs = jnp.sum(jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)), axis=-1)
        return Whitened(
            energy=-0.5 * (jnp.sum(left**2, axis=1) + jnp.sum(z**2, axis=1)),
            half_log_det=logs + einsum("kd,ds->ks", jnp.log(core.scale), mask),
            n_observed=jnp.sum(mask, axis=0),
            y=jnp.concatenate([left, z], axis=1),  # [K, D + q, S]
            spread=spread,  # [K, S, q, q]
        )

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """The moments themselves; what is not known of a sample adds its covariance."""
        assert block.observed is not None
        assert whitened.y is not None
        k, d = self.means.shape
        left, z = whitened.y[:, :d], whitened.y[:, d:]
        w, b = self.core.loadings, self.core.regression
        counts, first = jnp.sum(u, axis=1), einsum("ks,kis->ki", u, z)
        shifts = einsum("ks,kds->kd", u, left) + einsum("kdi,ki->kd", w, first)
        second = einsum("ks,kis,kjs->kij", u, z, z)
        products = einsum("ks,kds,kis->kdi", u, left, z) + einsum("kdi,kij->kdj", w, second)
        squares = einsum("ks,kds->kd", u, left**2)
        # With Q = 1 - O: the covariance Q (1 + W V Wᵀ) Q, of which P = 1 - W Bᵀ leaves residuals.
        missing = 1 - block.observed.astype(w.dtype)
        q_mean = einsum("ks,ds->kd", r, missing)
        turned = einsum("ds,kdi,kdj->ksij", missing, w, b)  # Wᵀ Q B
        inner = einsum("ksij,ksjl->ksil", whitened.spread, turned)  # V Wᵀ Q B
        own = einsum("ks,ds,ksij->kdij", r, missing, whitened.spread)
        mixed = einsum("ks,ds,ksij->kdij", r, missing, inner)
        both = einsum("ks,ksji,ksjl->kil", r, turned, inner)
        both = both + einsum("kd,kdi,kdj->kij", q_mean, b, b)
        products = products + q_mean[..., None] * b + einsum("kdi,kdij->kdj", w, mixed)
        squares = squares + q_mean * (1 - 2 * self.core.shares)
        squares = squares + einsum("kdi,kdij,kdj->kd", w, own - 2 * mixed, w)
        squares = squares + einsum("kdi,kij,kdj->kd", w, both, w)
        return counts, shifts, jnp.concatenate([squares[..., None], products], axis=-1)

    def moments(self, total: Sums) -> Moments:
        """The shifts in the frame of each component."""
        counts, shifts, sketch = total
        return counts, apply_form(inverse_form(self.core), self.core.scale * shifts), sketch
