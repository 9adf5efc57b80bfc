"""The pass over the data for covariances Λ Λᵀ + Ψ, at the cost of q directions for each component.

What is expected of the factors of a sample is linear in it: z = B (x - μ). With what they leave of
it, e = x - μ - Λ z, the squared distance is e Ψ⁻¹ e + |z|², a sum of squares. The residuals are
small where the factors explain much, and so their squares lose no digits, whatever the loadings.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm._struct import struct
from jgmm.data.products import dot, einsum, with_one
from jgmm.data.samples import Block
from jgmm.families.family import Family
from jgmm.families.kernels import Kernel, Moments, Sums, Whitened


@struct
class FactorKernel(Kernel):
    """All components; two products with all samples, and a short one for each component.

    Moments are sketches [K, D, 1 + q] in units of √Ψ: squares of residuals, and products of what is
    off the mean with the factors.
    """

    family: Family  # that knows how to whiten
    inverse: Array  # form or root of the family, of means
    scale: Array  # √Ψ [K, D]
    means: Array  # [K, D]
    half_log_dets: Array  # [K]
    factors: Array  # [q K, D + 1], (1, x) to z
    fill: Array  # [K, D, 1 + q], (1, z) to what is expected of x: μ and Λ
    counted: Array  # [], 1 where z counts for the distance, or 0

    def evaluate(self, block: Block) -> Whitened:
        """Factors, and squares of what they leave."""
        k, d, width = self.fill.shape
        z = dot(self.factors, with_one(block.features)).reshape(k, width - 1, -1)
        latent = jnp.concatenate([jnp.ones_like(z[:, :1]), z], axis=1)
        residuals = block.features - einsum("kdq,kqs->kds", self.fill, latent)
        squares = residuals**2
        energy = einsum("kd,kds->ks", self.scale**-2, squares)
        return Whitened(
            energy=-0.5 * (energy + self.counted * jnp.sum(z**2, axis=1)),
            half_log_det=self.half_log_dets[:, None],
            n_observed=d,
            y=squares,  # [K, D, S]
            spread=latent,  # [K, 1 + q, S]
        )

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """Σr·e², and Σr·(1, z)·(1, x)ᵀ for all components by one product."""
        squares, latent = whitened.y, whitened.spread
        assert squares is not None
        assert latent is not None
        x = block.features
        weighted = (u[:, None] * latent).reshape(-1, x.shape[1])
        return einsum("kds,ks->kd", squares, u), dot(weighted, with_one(x).T)

    def moments(self, total: Sums) -> Moments:
        """From products with x to those with x - μ."""
        k, d, width = self.fill.shape
        squares, products = total
        table = products.reshape(k, width, d + 1)
        mixed = table[:, :, 1:] - table[:, :, :1] * self.means[:, None, :]
        mixed = mixed.swapaxes(1, 2) / self.scale[..., None]  # in units of √Ψ
        shifts = self.family.apply(self.inverse, self.scale * mixed[..., 0])
        squares = squares / self.scale**2
        sketch = jnp.concatenate([squares[..., None], mixed[..., 1:]], axis=-1)
        return table[:, 0, 0], shifts, sketch


def factor_kernel(
    family: Family,
    scale: Array,
    loadings: Array,
    projection: Array,
    means: Array,
    half_log_dets: Array,
    inverse: Array | None = None,
    *,
    counted: bool = True,
) -> FactorKernel:
    """The kernel of Ψ^½ [K, D], Λ and Bᵀ [K, D, q]; of a family whose inverse roots are 1 / √Ψ."""
    d = means.shape[1]
    offsets = einsum("kdi,kd->ki", projection, means)
    rows = jnp.concatenate([-offsets[..., None], projection.swapaxes(1, 2)], axis=-1)
    return FactorKernel(
        family=family,
        inverse=1 / scale if inverse is None else inverse,
        scale=scale,
        means=means,
        half_log_dets=half_log_dets,
        factors=rows.reshape(-1, d + 1),
        fill=jnp.concatenate([means[..., None], loadings], axis=-1),
        counted=jnp.asarray(counted, means.dtype),
    )
