"""Sums and means that carry their rounding error along, for differences that float32 cannot see."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from jgmm._struct import struct

T = TypeVar("T")


@struct
class Compensated(Generic[T]):
    """A number, or a pytree of arrays, as the sum of two: in about twice the working precision."""

    value: T  # the nearest number
    error: T  # what it lacks

    def rounded(self) -> T:
        """Both added up."""
        total: T = jax.tree.map(jnp.add, self.value, self.error)
        return total

    def above(self: Compensated[Array], other: Compensated[Array]) -> Array:
        """How much larger this number is than another."""
        return (self.value - other.value) + (self.error - other.error)


def constant(value: Array) -> Compensated[Array]:
    """A number without rounding error."""
    return Compensated(value=value, error=jnp.zeros_like(value))


def plus(total: Compensated[Any], term: Any) -> Compensated[Any]:
    """The sum with one more term (Neumaier 1974)."""
    new = jax.tree.map(jnp.add, total.value, term)
    error = jax.tree.map(
        lambda e, s, t, x: e + jnp.where(abs(s) >= abs(x), (s - t) + x, (x - t) + s),
        total.error,
        total.value,
        new,
        term,
    )
    return Compensated(value=new, error=error)


def mean(total: Compensated[Array], weight: Array) -> Compensated[Array]:
    """The sum divided by a weight."""
    quotient = total.value / weight
    rest = (total.value - quotient * weight + total.error) / weight
    value = quotient + rest
    return Compensated(value=value, error=rest - (value - quotient))
