"""How a component is distributed, given how far a sample is from it.

A component with mean μ and covariance L Lᵀ is a density of |y|², y = L⁻¹(x - μ). Another than the
Gaussian says so here: its log-density, and how much a sample counts in the moments.
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
    """The distribution of components; static, as a family is."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make objects of the class static pytree nodes."""
        super().__init_subclass__(**options)
        jax.tree_util.register_static(cls)

    reweights: ClassVar[bool] = False
    """Whether samples count in the moments by other than their responsibilities."""

    @abc.abstractmethod
    def log_constant(self, d: Any) -> Any:
        """What the log-density of y in D dimensions has that does not depend on y."""

    @abc.abstractmethod
    def log_shape(self, energy: Array, d: int | Array) -> Array:
        """The rest of the log-density, from the energy -|y|²/2."""

    def moment_weights(self, r: Array, energy: Array, d: int | Array) -> Array:
        """How much samples with responsibilities r [K, S] count in the moments of y."""
        return r


class Gaussian(Distribution):
    """The normal distribution."""

    def log_constant(self, d: Any) -> Any:
        """-D/2 log 2π."""
        return -0.5 * math.log(2 * math.pi) * d

    def log_shape(self, energy: Array, d: int | Array) -> Array:
        """The energy itself."""
        return energy


GAUSSIAN = Gaussian()
