"""What a covariance family has to know: its parameters, their algebra, M-step, metric and charts.

Everything else asks the family; nobody looks at the shape of a covariance or at a family's name.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jgmm.data.arrays import module_of
from jgmm.data.products import along, einsum
from jgmm.data.samples import block_size
from jgmm.families.floor import Floor, Ridge
from jgmm.families.kernels import Kernel
from jgmm.families.scatters import Scatters, of_one_sample
from jgmm.families.storage import Storage


@dataclasses.dataclass(frozen=True)
class Family(Storage):
    """A covariance family, and all that is done with its covariances; see `Storage`."""

    @property
    @abc.abstractmethod
    def wide(self) -> Family:
        """The least restrained family of the same algebra, that statistics are taken in."""

    @property
    def parts(self) -> Family:
        """The family of some of the features, and of those given others."""
        return self

    def accept(self, source: Family) -> None:
        """Raise a ValueError where statistics taken under another family say too little."""
        if source.sketched:
            raise ValueError(
                f"covariance_type: expected {source.name}, because the statistics were taken under "
                f"a mixture of it and are sketches, got {self.name}"
            )

    # Factor algebra.

    @abc.abstractmethod
    def root(self, covariances: Array) -> Array:
        """L; NaN where not positive definite."""

    @abc.abstractmethod
    def inverse_root(self, covariances: Array, d: int) -> tuple[Array, Array]:
        """L⁻¹, and half the log-determinant in D dimensions [K or 1]."""

    def lower(self, covariances: Array) -> Array:
        """A root as other libraries have it: lower triangular, or deviations."""
        return self.root(covariances)

    def movable(self, covariances: Array) -> Array:
        """What adds up in an optimizer, whose `square` the covariances are: the root."""
        return self.root(covariances)

    @abc.abstractmethod
    def square(self, root: Array) -> Array:
        """L Lᵀ; the covariances of what is `movable`."""

    @abc.abstractmethod
    def apply(self, form: Array, vectors: Array) -> Array:
        """L v, or L⁻¹ v, for vectors [K, D]."""

    @abc.abstractmethod
    def congruence(self, form: Array, spreads: Array) -> Array:
        """L S Lᵀ for spreads."""

    @abc.abstractmethod
    def outer(self, vectors: Array, root: Array | None = None) -> Array:
        """V vᵀ of vectors [K, D], as spreads; of sketches of what a root has whitened."""

    def products(self, vectors: Array, covariances: Array) -> Array:
        """V vᵀ of vectors [K, D] in the units of covariances, as spreads taken under those."""
        return self.outer(vectors)

    @abc.abstractmethod
    def spreads(self, matrices: Array) -> Array:
        """What spreads keep of matrices [K, D, D]; spreads stay as they are."""

    def widened(self, covariances: Array, k: int, d: int) -> Array:
        """Covariances as spreads, one for each component."""
        return jnp.broadcast_to(covariances, self.wide.shape(k, d))

    @abc.abstractmethod
    def whitened_scatter(self, mixed: Array, inverse: Array) -> Array:
        """Σr·y·yᵀ as spreads, from Σr·y·(x - μ)ᵀ [K, D, D] with y = L⁻¹(x - μ)."""

    def slope(self, covariances: Array, scatters: Array, counts: Array, change: Array) -> Array:
        """The expected log-likelihood of complete data near covariances, linear in a change [].

        Args:
            covariances: that the statistics were taken under.
            scatters: of samples, whitened.
            counts: how many samples [K].
            change: of the covariances; or others, for what is the same but for a constant.
        """
        k, d = len(counts), scatters.shape[1]
        inverse, _ = self.inverse_root(covariances, d)
        identity = self.spreads(jnp.eye(d, dtype=counts.dtype)[None])
        excess = scatters - along(counts, scatters) * identity
        return jnp.sum(excess * self.congruence(inverse, self.widened(change, k, d))) / 2

    # The M-step.

    def masses(self, weights: Array) -> Array:
        """The weight of the samples that each covariance describes, [K] or [1]."""
        return jnp.sum(weights)[None] if self.shared else weights

    @abc.abstractmethod
    def entries(self, d: int) -> int:
        """Of D features, how many share an entry."""

    @abc.abstractmethod
    def pool(self, spreads: Array) -> Array:
        """Sums of spreads [K, ...] of samples, over all that share an entry."""

    @abc.abstractmethod
    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Minus the power of each entry of the root in the density of the prior.

        That of an inverse Wishart of ``dof`` degrees of freedom, or its analogue, with normal
        priors of ``n_used`` means.
        """

    @abc.abstractmethod
    def wishart_scale(self, scale: Array) -> Array:
        """The scale [D, D] of an inverse Wishart, as a covariance of the family without K."""

    @abc.abstractmethod
    def wishart_traces(self, inverse: Array, scale: Array) -> Array:
        """tr(Σ⁻¹ scale) for each covariance [K or 1], from inverse roots."""

    def maximise(self, scatters: Scatters) -> Array:
        """The covariances of highest likelihood, or posterior density."""
        spreads = self.spreads(scatters.spreads)
        sums, counts = scatters.sums(spreads, idle=0 if self.shared else 1)
        totals = self.pool(sums)
        mass = self.entries(spreads.shape[-1]) * self.masses(counts)
        if scatters.wishart is not None:
            scale, exponent = scatters.wishart
            totals, mass = totals + self.wishart_scale(scale), mass + exponent
        mass = jnp.where(mass > 0, mass, 1)
        return totals / along(mass, totals)

    def estimate(
        self, scatters: Scatters, floor: Floor | Ridge, current: Array | None = None
    ) -> Array:
        """The same above a floor. ``current`` are covariances that an iteration may go on from."""
        return floor.under(self, self.maximise(scatters))

    def average(self, covariances: Array, weights: Array) -> Array:
        """The same covariance for all components, the mean under ``weights`` [K]."""
        if self.shared:
            return covariances
        mean = einsum("k,k...->...", weights, covariances)
        return jnp.broadcast_to(mean, covariances.shape)

    def shared_out(self, matrices: Any, weights: Any, floor: Any = 0) -> Any:
        """Covariances of components whose own are ``matrices`` [K, D, D]; NumPy arrays stay so.

        Those that components share are means under ``weights`` [K]. No less than a floor [D], if
        the matrices are so.
        """
        if not self.shared:
            return self.of_matrices(matrices)
        mean = (weights[:, None, None] * matrices).sum(axis=0) / weights.sum()
        return self.of_matrices(mean[None])

    def moved(
        self, covariances: Any, before: Any, matrices: Any, weights: Any, floor: Any = 0
    ) -> Any:
        """Covariances of which the matrices were changed from ``before``; see `shared_out`."""
        return self.shared_out(matrices, weights, floor)

    def of_matrices(self, matrices: Any) -> Any:
        """What covariances keep of matrices [., D, D]; NumPy arrays stay so.

        Where features are independent, their variances [., D] do as well.
        """
        kept = self.maximise(of_one_sample(jnp.asarray(matrices)))
        return module_of(matrices).asarray(kept)

    @abc.abstractmethod
    def diagonal(self, variances: Array) -> Array:
        """Variances [D] of the features, as a covariance of the family without K."""

    @abc.abstractmethod
    def clip(self, covariances: Array, floor: Array) -> Array:
        """Covariances no smaller than a floor: the likeliest ones with Σ - diag(floor) >= 0."""

    # Charts and the metric. The information that complete samples have on a covariance is, per
    # sample, |L⁻¹ dΣ L⁻ᵀ|² / 2; in what is called isometric here it is the plain square.

    @abc.abstractmethod
    def unconstrained(self, covariances: Array) -> Array:
        """A chart in which all values are covariances: log-Cholesky factors, log variances."""

    @abc.abstractmethod
    def constrained(self, chart: Array) -> Array:
        """The covariances of values of the chart."""

    @abc.abstractmethod
    def isometric(self, inverse: Array, change: Array, d: int) -> Array:
        """A change of the covariances, such that its square is the information per sample."""

    @abc.abstractmethod
    def from_isometric(self, root: Array, change: Array, d: int) -> Array:
        """The change of the covariances again."""

    def horizontal(self, covariances: Array, change: Array) -> Array:
        """A change without the part that only changes how `ambiguous` covariances are stored."""
        return change

    @abc.abstractmethod
    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """The shape of `push`'s growth: for each covariance its free parameters."""

    @abc.abstractmethod
    def push(self, root: Array, growth: Array, d: int) -> Array:
        """The change of what is `movable` for a growth in free, isometric parameters."""

    def near(self, covariances: Array, growth: Array, weights: Array, d: int) -> Array:
        """Covariances of components with ``weights`` [K], grown along the free parameters.

        In units of what one sample tells of each.
        """
        masses = self.masses(weights)
        alone = jax.lax.rsqrt(jnp.where(masses > 0, masses, 1))
        root = self.movable(covariances)
        return self.square(root + self.push(root, growth * alone[:, None], d))

    def free(self, used: Array, d: int) -> Array:
        """Which of the free parameters are of components ``used`` [K], or of all."""
        ones = jnp.ones(self.tangent_shape(len(used), d), bool)
        return self.select(used, ones, ~ones)

    # The pass over the data.

    def block_size(self, k: int, d: int, dtype: Any) -> int:
        """How many samples are best worked on together."""
        return block_size(k, d, dtype)

    @abc.abstractmethod
    def kernel(self, weights: Array, means: Array, covariances: Array) -> Kernel:
        """What a pass over complete samples needs of a mixture."""

    @abc.abstractmethod
    def gap_kernel(self, means: Array, covariances: Array) -> Kernel:
        """What a pass over samples with features missing needs."""
