"""What a covariance family is, and how the covariances of K components in D dimensions are kept."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jgmm.data.arrays import lengthened, module_of
from jgmm.data.products import along


@dataclasses.dataclass(frozen=True)
class Storage(abc.ABC):
    """A covariance family: how the covariances of K components in D dimensions are stored.

    Covariances have shape [K, ...], or [1, ...] where all components share one. An inner form of a
    covariance is its root, a factor L with Σ = L Lᵀ, or the inverse of that; spreads are
    covariances of single components as the statistics have them, in the form of `Family.wide`.

    A family is static: to JAX it is a part of the structure of a pytree, not a value.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """As callers write it."""

    shared: ClassVar[bool] = False
    """Whether one covariance serves all components."""
    isotropic: ClassVar[bool] = False
    """Whether it measures plain distances, so that one scale has to serve all features."""
    independent: ClassVar[bool]
    """Whether features are independent within a component."""
    restrained: ClassVar[bool] = False
    """Whether not all that can be stored is of the family."""
    conjugate: ClassVar[bool] = False
    """Whether Wisharts, or gammas for each variance, are a conjugate prior of the precisions."""
    sketched: ClassVar[bool] = False
    """Whether spreads are sketches, which only go with the covariances they were taken under."""

    @property
    def ambiguous(self) -> bool:
        """Whether different values of what is stored are one covariance."""
        return False

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
        return covariances if self.shared else lengthened(covariances, k)

    def per_component(self, leaf: Any, k: int) -> Any:
        """A covariance or an inner form of it for each of K components, [K, ...]."""
        return module_of(leaf).broadcast_to(leaf, (k, *leaf.shape[1:]))

    @abc.abstractmethod
    def dense(self, covariances: Any, k: int, d: int) -> Any:
        """As matrices [K, D, D]; NumPy arrays stay so."""

    def variances(self, covariances: Any, k: int, d: int) -> Any:
        """Of each feature in each component [K, D]; NumPy arrays stay so."""
        return module_of(covariances).diagonal(self.dense(covariances, k, d), 0, -2, -1)

    @abc.abstractmethod
    def rescale(self, covariances: Array, scale: Array) -> Array:
        """After features were multiplied by ``scale`` [D]."""

    def scaled(self, covariances: Array, factors: Array) -> Array:
        """Each as many times as large as ``factors`` [K] say."""
        return along(factors, covariances) * covariances

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

    # What callers and files hold, on the host.

    @abc.abstractmethod
    def flaw(self, covariances: Any) -> str | None:
        """What is wrong with covariances [..., K, ...] that a caller made; None if nothing is."""

    @abc.abstractmethod
    def weakness(self, covariances: Any) -> str | None:
        """What keeps densities from being computed of covariances; None if nothing does."""
