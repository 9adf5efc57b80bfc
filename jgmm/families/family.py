"""What a covariance family has to know: its parameters, their algebra, M-step, metric and charts.

Everything else asks the family; nobody looks at the shape of a covariance or at a family's name.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jgmm.data.arrays import module_of
from jgmm.data.products import along
from jgmm.families.floor import Floor, Ridge
from jgmm.families.kernels import Kernel


@dataclasses.dataclass(frozen=True)
class Family(abc.ABC):
    """A covariance family: how the covariances of K components in D dimensions are stored.

    Covariances have shape [K, ...], or [1, ...] where all components share one. An inner form of a
    covariance is its root, a factor L with Σ = L Lᵀ, or the inverse of that; spreads are
    covariances of single components as the statistics have them, in the form of `wide`.

    A family is static: to JAX it is a part of the structure of a pytree, not a value.
    """

    name: ClassVar[str]
    """As callers write it."""
    shared: ClassVar[bool] = False
    """Whether one covariance serves all components."""
    isotropic: ClassVar[bool] = False
    """Whether it measures plain distances, so that one scale has to serve all features."""
    independent: ClassVar[bool]
    """Whether features are independent within a component."""
    restrained: ClassVar[bool] = False
    """Whether not all that can be stored is of the family."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make objects of the class static pytree nodes."""
        super().__init_subclass__(**options)
        jax.tree_util.register_static(cls)

    # What is stored.

    @abc.abstractmethod
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """The shape of the covariances of K components in D dimensions."""

    @abc.abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Free parameters of the covariances of K components in D dimensions."""

    @property
    @abc.abstractmethod
    def wide(self) -> Family:
        """The least restrained family of the same algebra, that statistics are taken in."""

    @property
    def parts(self) -> Family:
        """The family of some of the features, and of those given others."""
        return self

    def member(self, covariances: Any, weights: Any) -> Any:
        """Covariances of the family near these, which count by ``weights`` [K]."""
        return covariances

    def select(self, used: Array, these: Array, others: Array) -> Array:
        """The covariances of components ``used`` [K], and others in the place of the rest."""
        if self.shared:
            return these
        return jnp.where(along(used, these), these, others)

    def take(self, covariances: Any, index: Any) -> Any:
        """Those of some components, in the order of ``index``; NumPy arrays stay so."""
        return covariances if self.shared else covariances[index]

    def pad(self, covariances: Any, k: int) -> Any:
        """For K components, the first repeated; on the host for NumPy arrays."""
        more = 0 if self.shared else k - len(covariances)
        xp = module_of(covariances)
        return xp.concatenate([covariances, xp.repeat(covariances[:1], more, axis=0)])

    def per_component(self, leaf: Any, k: int) -> Any:
        """A covariance or an inner form of it for each of K components, [K, ...]."""
        return module_of(leaf).broadcast_to(leaf, (k, *leaf.shape[1:]))

    @abc.abstractmethod
    def dense(self, covariances: Any, k: int, d: int) -> Any:
        """As matrices [K, D, D]; NumPy arrays stay so."""

    @abc.abstractmethod
    def rescale(self, covariances: Array, scale: Array) -> Array:
        """After features were multiplied by ``scale`` [D]."""

    @abc.abstractmethod
    def marginal(self, covariances: Array, index: Any) -> Array:
        """Of some features."""

    @abc.abstractmethod
    def conditional(
        self, covariances: Array, rest: Any, index: Any, gaps: Array
    ) -> tuple[Array, Array, Array]:
        """Of the features ``rest``, given that those of ``index`` are ``gaps`` [K, F] off the mean.

        Returns:
            The change of the means [K, R], the covariances, and the log-density of the gaps [K]
            but for a constant.
        """

    # Factor algebra.

    @abc.abstractmethod
    def root(self, covariances: Array) -> Array:
        """L; NaN where not positive definite."""

    @abc.abstractmethod
    def inverse_root(self, covariances: Array, d: int) -> tuple[Array, Array]:
        """L⁻¹, and half the log-determinant in D dimensions [K or 1]."""

    @abc.abstractmethod
    def square(self, root: Array) -> Array:
        """L Lᵀ."""

    @abc.abstractmethod
    def apply(self, form: Array, vectors: Array) -> Array:
        """L v, or L⁻¹ v, for vectors [K, D]."""

    @abc.abstractmethod
    def congruence(self, form: Array, spreads: Array) -> Array:
        """L S Lᵀ for spreads."""

    @abc.abstractmethod
    def outer(self, vectors: Array) -> Array:
        """V vᵀ of vectors [K, D], as spreads."""

    @abc.abstractmethod
    def spreads(self, matrices: Array) -> Array:
        """What spreads keep of matrices [K, D, D]; spreads stay as they are."""

    def widened(self, covariances: Array, k: int, d: int) -> Array:
        """Covariances as spreads, one for each component."""
        return jnp.broadcast_to(covariances, self.wide.shape(k, d))

    @abc.abstractmethod
    def whitened_scatter(self, mixed: Array, inverse: Array) -> Array:
        """Σr·y·yᵀ as spreads, from Σr·y·(x - μ)ᵀ [K, D, D] with y = L⁻¹(x - μ)."""

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

    def maximise(
        self,
        spreads: Array,
        n: Array,
        counts: Array,
        used: Array,
        wishart: tuple[Array, Array] | None,
    ) -> Array:
        """The covariances of highest likelihood, or posterior density.

        Args:
            spreads: of each component [K, ...], or [K, D, D].
            n: how many samples they are means of [K].
            counts: how many samples share them [K]; of Gaussians as many.
            used: components that explain anything [K]; the spreads of others are kept.
            wishart: scale [D, D] and exponent of the prior; None for a flat one.
        """
        spreads = self.spreads(spreads)
        d = spreads.shape[-1]
        idle = 0 if self.shared else 1
        n, counts = jnp.where(used, n, idle), jnp.where(used, counts, idle)
        totals = self.pool(along(n, spreads) * spreads)
        mass = self.entries(d) * self.masses(counts)
        if wishart is not None:
            scale, exponent = wishart
            totals, mass = totals + self.wishart_scale(scale), mass + exponent
        mass = jnp.where(mass > 0, mass, 1)
        return totals / along(mass, totals)

    def estimate(
        self,
        spreads: Array,
        n: Array,
        counts: Array,
        used: Array,
        wishart: tuple[Array, Array] | None,
        floor: Floor | Ridge,
        current: Array | None = None,
    ) -> Array:
        """The same above a floor. ``current`` are covariances that an iteration may go on from."""
        return floor.under(self, self.maximise(spreads, n, counts, used, wishart))

    def average(self, covariances: Array, weights: Array) -> Array:
        """The same covariance for all components, the mean under ``weights`` [K]."""
        if self.shared:
            return covariances
        mean = jnp.tensordot(weights, covariances, axes=1, precision=jax.lax.Precision.HIGHEST)
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

    def of_matrices(self, matrices: Any) -> Any:
        """What covariances keep of matrices [., D, D]; NumPy arrays stay so."""
        n = jnp.ones(len(matrices), matrices.dtype)
        kept = self.maximise(jnp.asarray(matrices), n, n, n > 0, None)
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

    @abc.abstractmethod
    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """The shape of `push`'s growth: for each covariance its free parameters."""

    @abc.abstractmethod
    def push(self, root: Array, growth: Array, d: int) -> Array:
        """The change of the root for a growth in free, isometric parameters."""

    def near(self, covariances: Array, growth: Array, weights: Array, d: int) -> Array:
        """Covariances of components with ``weights`` [K], grown along the free parameters.

        In units of what one sample tells of each.
        """
        masses = self.masses(weights)
        alone = jax.lax.rsqrt(jnp.where(masses > 0, masses, 1))
        root = self.root(covariances)
        return self.square(root + self.push(root, growth * alone[:, None], d))

    def free(self, used: Array, d: int) -> Array:
        """Which of the free parameters are of components ``used`` [K], or of all."""
        ones = jnp.ones(self.tangent_shape(len(used), d), bool)
        return self.select(used, ones, ~ones)

    # The pass over the data.

    @abc.abstractmethod
    def kernel(self, weights: Array, means: Array, covariances: Array) -> Kernel:
        """What a pass over complete samples needs of a mixture."""

    @abc.abstractmethod
    def gap_kernel(self, means: Array, covariances: Array) -> Kernel:
        """What a pass over samples with features missing needs."""
