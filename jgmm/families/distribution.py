"""How a component is distributed, given how far a sample is from it.

A component with mean μ and covariance L Lᵀ is a density of |y|², y = L⁻¹(x - μ). Another than the
Gaussian says so here: its log-density, how much a sample counts in the moments, and what is to know
of its shape, of which each component may have a parameter: its degrees of freedom.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, ClassVar

import jax
from jax import Array


@dataclasses.dataclass(frozen=True)
class Distribution(abc.ABC):
    """The distribution of components; static, as a family is.

    ``dof`` are the degrees of freedom [K] of components; None of a distribution without.
    """

    name: ClassVar[str]
    """As callers write it."""
    title: ClassVar[str]
    """As people read it, before "components"; empty for the usual one."""
    reweights: ClassVar[bool] = False
    """Whether samples count in the moments by other than their responsibilities."""
    shaped: ClassVar[bool] = False
    """Whether there are degrees of freedom."""
    estimated: ClassVar[bool] = False
    """Whether a fit estimates them."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make objects of the class static pytree nodes."""
        super().__init_subclass__(**options)
        jax.tree_util.register_static(cls)

    # The density, and what it makes of a block of samples.

    @abc.abstractmethod
    def log_constant(self, d: Any, dof: Any) -> Any:
        """What the log-density of y in D dimensions has that does not depend on y."""

    @abc.abstractmethod
    def log_shape(self, energy: Array, d: int | Array, dof: Any) -> Array:
        """The rest of the log-density, from the energy -|y|²/2."""

    def moment_weights(self, r: Array, energy: Array, d: int | Array, dof: Any) -> Array:
        """How much samples with responsibilities r [K, S] count in the moments of y."""
        return r

    def tails(self, energy: Array, d: int | Array, dof: Any) -> Array | None:
        """What samples say of the degrees of freedom [K, S], to be summed up by r."""
        return None

    # What follows from it.

    @abc.abstractmethod
    def n_parameters(self, k: int) -> int:
        """Free parameters of the shapes of K components."""

    def estimate(self, dof: Any, tails: Any, counts: Array, used: Array) -> Any:
        """The M-step of the degrees of freedom, from the sums of `tails` [K].

        Those of components that are not ``used`` [K] stay.
        """
        return dof

    def pooled(self, dof: Any, weights: Array) -> Any:
        """Those near that are as the distribution has them, the same for all where that is so."""
        return dof

    def slope(self, dof: Any, tails: Any, counts: Array) -> Any:
        """The derivative [K] by dof of what `estimate` maximises, at dof; None for none."""
        return None

    def unconstrained(self, dof: Any) -> Any:
        """A chart of what is estimated; None for nothing."""
        return None

    def constrained(self, chart: Any, dof: Any) -> Any:
        """The degrees of freedom of values of the chart; ``dof`` where nothing is estimated."""
        return dof

    def information(self, dof: Any) -> Any:
        """What a sample whose component and weight are known tells of the chart [K]."""
        return None

    def free(self, used: Array) -> Any:
        """Which of the free parameters are of components ``used`` [K]; None for none."""
        return None

    def near(self, dof: Any, growth: Any, weights: Array) -> Any:
        """Degrees of freedom of components with ``weights`` [K], grown along the free parameters.

        In units of what one sample tells of each; ``growth`` is None where there are none.
        """
        return dof

    def log_spread(self, dof: Any) -> Any:
        """The logarithm of the variance of y along any direction [K], infinite for none."""
        return 0.0

    @abc.abstractmethod
    def entropy(self, d: int, dof: Any) -> Any:
        """Of y in D dimensions [K], in nats."""

    def conditional(self, dof: Any, f: int, log_density: Array, squares: Array) -> Any:
        """Of the other features, where F are known whose y have ``squares`` |y|² [K].

        Args:
            dof: the degrees of freedom [K].
            f: F.
            log_density: of these y if they were Gaussian, but for a constant [K].
            squares: |y|² [K].

        Returns:
            The log-density [K], what the covariances are to be multiplied by [K] (None for
            nothing), and the degrees of freedom.
        """
        return log_density, None, dof

    def scales(self, key: Array, labels: Array, dof: Any) -> Array | None:
        """How far samples of components ``labels`` [N] are drawn from the mean, beside a normal.

        None where they are normal.
        """
        return None


class Gaussian(Distribution):
    """The normal distribution."""

    name = "gaussian"
    title = ""

    def log_constant(self, d: Any, dof: Any) -> Any:
        """-D/2 log 2π."""
        return -0.5 * math.log(2 * math.pi) * d

    def log_shape(self, energy: Array, d: int | Array, dof: Any) -> Array:
        """The energy itself."""
        return energy

    def n_parameters(self, k: int) -> int:
        """None."""
        return 0

    def entropy(self, d: int, dof: Any) -> Any:
        """D/2 (1 + log 2π)."""
        return d / 2 * (1 + math.log(2 * math.pi))


GAUSSIAN = Gaussian()
