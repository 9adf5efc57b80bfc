"""Mixtures of factor analysers: covariances Λ Λᵀ + Ψ of q loadings and a variance for each feature.

A step of EM for the factors (Ghahramani and Hinton 1996) inside the M-step of the mixture, with the
covariance of the factors as a parameter that is taken back into the loadings (Liu, Rubin and Wu
1998), which takes fewer steps. Means are the likeliest for any covariance, so that they come first
(Meng and van Dyk 1997; McLachlan and Peel 2000): the likelihood never falls. What it needs of a
covariance S is a sketch of D (1 + q) numbers: see `jgmm.families.factor_kernels`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from jgmm.data.products import along, einsum
from jgmm.families import low_rank
from jgmm.families.factor_gaps import FactorGapKernel
from jgmm.families.factor_kernels import factor_kernel
from jgmm.families.family import Family
from jgmm.families.floor import Floor, Ridge
from jgmm.families.kernels import Kernel
from jgmm.families.loadings import Loadings
from jgmm.families.low_rank import Core, core_of
from jgmm.families.probe import Probe, from_sketch
from jgmm.families.scatters import Scatters

_NEAR = 1 << 20  # numbers


@dataclasses.dataclass(frozen=True)
class Factor(Loadings):
    """Factor analysers: a variance for each feature, [K, D, 1 + q]."""

    kind = "factor"

    @property
    def name(self) -> str:
        """With the rank."""
        return f"{self.kind}({self.rank})"

    def n_parameters(self, k: int, d: int) -> int:
        """Variances, and loadings but for rotations; no more than of matrices."""
        return k * min(d + _n_loadings(d, self.rank), d * (d + 1) // 2)

    @property
    def wide(self) -> Family:
        """What tells where to start."""
        return Probe(self.rank)

    def accept(self, source: Family) -> None:
        """A sketch is of one mixture, or of none."""
        if source not in (self, self.wide):
            raise ValueError(
                f"covariance_type: expected statistics taken under a mixture of {self.name}, got "
                f"those of {source.name}"
            )

    def slope(self, covariances: Array, scatters: Array, counts: Array, change: Array) -> Array:
        """By the residuals that sketches have."""
        core = core_of(covariances)
        n = along(counts, scatters)
        z = einsum("kdi,kdj->kij", core.regression, scatters[..., 1:])
        left = scatters[..., 1:] - einsum("kdi,kij->kdj", core.loadings, z)
        by_variance = (scatters[..., 0] - n[..., 0] * (1 - core.shares)) / core.scale**2
        by_loadings = (left - n * core.regression) / core.scale[..., None]
        return jnp.sum(by_variance * change[..., 0]) / 2 + jnp.sum(by_loadings * change[..., 1:])

    # The M-step.

    def entries(self, d: int) -> int:
        """None is shared."""
        return 1

    def pool(self, spreads: Array) -> Array:
        """Each on its own."""
        return spreads

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of an inverse Wishart on Λ Λᵀ + Ψ, and the normal prior of the mean."""
        return dof + d + 2

    def wishart_scale(self, scale: Array) -> Array:
        """As near as the family has it."""
        return jnp.asarray(self.of_matrices(scale[None])[0])

    def wishart_traces(self, inverse: Array, scale: Array) -> Array:
        """Squares of L⁻¹ R with the scale R Rᵀ."""
        root = jnp.linalg.cholesky(scale)
        return jnp.sum(low_rank.apply_to_columns(inverse, root) ** 2, axis=(1, 2))

    def estimate(
        self, scatters: Scatters, floor: Floor | Ridge, current: Array | None = None
    ) -> Array:
        """Better ones than the current, above a floor; without those, what a sketch tells."""
        spreads = scatters.spreads
        totals, mass = scatters.sums(spreads)
        if current is None:
            directions = jnp.asarray(Probe(self.rank).directions(spreads.shape[1]), spreads.dtype)
            if scatters.wishart is not None:
                scale, exponent = scatters.wishart
                products = einsum("ij,jq->iq", scale, directions)
                prior = jnp.concatenate([jnp.diagonal(scale)[:, None], products], axis=-1)
                totals, mass = totals + prior, mass + exponent
            found = from_sketch(totals / along(mass, totals), directions)
        else:
            core = core_of(current)
            totals = self.congruence(1 / core.scale[..., None], totals)
            if scatters.wishart is not None:
                scale, exponent = scatters.wishart
                totals, mass = totals + _sketch_of(core, scale), mass + exponent
            found = _improved(core, totals / along(mass, totals))
        return floor.under(self, self.member(found, mass))

    def diagonal(self, variances: Array) -> Array:
        """Variances, and no loadings."""
        none = jnp.zeros((len(variances), self.rank), variances.dtype)
        return jnp.concatenate([variances[:, None], none], axis=-1)

    def clip(self, covariances: Array, floor: Array) -> Array:
        """Variances raised; loadings as they are."""
        least = self.diagonal(floor)[..., :1]
        return jnp.concatenate(
            [jnp.maximum(covariances[..., :1], least), covariances[..., 1:]], axis=-1
        )

    # Charts and the metric: that of samples whose factors are known too.

    def unconstrained(self, covariances: Array) -> Array:
        """Logarithms of variances, and loadings."""
        return jnp.concatenate([jnp.log(covariances[..., :1]), covariances[..., 1:]], axis=-1)

    def constrained(self, chart: Array) -> Array:
        """Exponentials."""
        return jnp.concatenate([jnp.exp(chart[..., :1]), chart[..., 1:]], axis=-1)

    def isometric(self, inverse: Array, change: Array, d: int) -> Array:
        """In units of the variances, which is all that rotations of the factors leave alone."""
        return self.congruence(inverse, change) * self._units(change)

    def from_isometric(self, root: Array, change: Array, d: int) -> Array:
        """Back."""
        return self.congruence(root, change / self._units(change))

    def horizontal(self, covariances: Array, change: Array) -> Array:
        """At right angles to rotations of the factors."""
        core = core_of(covariances)
        scale = core.scale[..., None]
        turn = low_rank.turn_of(core.loadings, change[..., 1:] / scale)
        turned = scale * einsum("kdi,kij->kdj", core.loadings, turn)
        return jnp.concatenate([change[..., :1], change[..., 1:] - turned], axis=-1)

    def _units(self, like: Array) -> Array:
        return jnp.ones(1 + self.rank, like.dtype).at[0].set(0.5**0.5)

    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """All of them; rotations change nothing."""
        return k, d * (1 + self.rank)

    def push(self, root: Array, growth: Array, d: int) -> Array:
        """Relative to deviations."""
        growth = growth.reshape(len(growth), d, 1 + self.rank)
        return root[..., :1] * growth * self._units(growth)

    def block_size(self, k: int, d: int, dtype: Any) -> int:
        """Of many features fewer, so that the residuals of a block stay near the processor."""
        size = super().block_size(k, d, dtype)
        return size if k * d * size <= _NEAR else min(size, 512)

    def kernel(self, weights: Array, means: Array, covariances: Array) -> Kernel:
        """By residuals."""
        core = core_of(covariances)
        projection = core.regression / core.scale[..., None]
        return factor_kernel(
            self,
            core.scale,
            covariances[..., 1:],
            projection,
            means,
            core.half_log_det,
            low_rank.inverse_form(core),
        )

    def gap_kernel(self, means: Array, covariances: Array) -> Kernel:
        """A factorisation of q × q for each sample."""
        return FactorGapKernel(means=means, core=core_of(covariances))


def _n_loadings(d: int, q: int) -> int:
    q = min(q, d)  # of some features there may be more factors than features
    return d * q - q * (q - 1) // 2


def _sketch_of(core: Core, matrix: Array) -> Array:
    """The sketch of one matrix [D, D], as for samples, in units of √Ψ."""
    root = jnp.linalg.cholesky(matrix) / core.scale[..., None]
    factors = einsum("kdi,kdf->kif", core.regression, root)
    left = root - einsum("kdi,kif->kdf", core.loadings, factors)
    squares = jnp.sum(left**2, axis=-1, keepdims=True)
    return jnp.concatenate([squares, einsum("kdf,kif->kdi", root, factors)], axis=-1)


def _improved(core: Core, sketch: Array) -> Array:
    """Variances and loadings after a step of EM, from a sketch about the new mean."""
    squares, products = sketch[..., 0], sketch[..., 1:]
    z = einsum("kdi,kdj->kij", core.regression, products)
    z = (z + z.swapaxes(-1, -2)) / 2
    left = products - einsum("kdi,kij->kdj", core.loadings, z)
    second = core.inner + z  # of the factors
    # As a change of the loadings, which is small near the end.
    change = jnp.linalg.solve(second, (left - core.regression).swapaxes(-1, -2)).swapaxes(-1, -2)
    loadings = core.loadings + change
    variances = (
        squares
        - 2 * jnp.sum(change * left, axis=-1)
        + einsum("kdi,kij,kdj->kd", change, z, change)
        + einsum("kdi,kij,kdj->kd", loadings, core.inner, loadings)
    )
    scale = core.scale[..., None]
    loadings = scale * einsum("kdi,kij->kdj", loadings, low_rank.square_root(second))
    return jnp.concatenate([scale**2 * variances[..., None], loadings], axis=-1)
