"""Stopping rules. A new one is a class here with the parts of `StoppingRule`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._struct import struct
from jgmm.data.compensated import Compensated, constant


@struct
class Gain:
    """Until the best value gains less than ``tol`` from one test to the next."""

    tol: Array  # [], nats per sample
    max_iter: Array  # [], steps at most

    def origin(self) -> Compensated[Array]:
        """The first value is a gain without end."""
        return constant(jnp.full_like(self.tol, -jnp.inf))

    def converged(self, gain: Array) -> Array:
        """A loss is no gain either."""
        return gain < self.tol

    def relaxed(self, tol: float, max_iter: Any) -> Gain:
        """With a larger tolerance, where it is."""
        return dataclasses.replace(self, tol=_at_least(self.tol, tol), max_iter=max_iter)


@struct
class Change:
    """Until the value changes by less than ``tol``, as scikit-learn has it."""

    tol: Array  # [], nats per sample
    max_iter: Array  # [], steps at most
    previous: Array  # [], what the first value is compared with; -inf for nothing

    def origin(self) -> Compensated[Array]:
        """Of an earlier fit that is carried on."""
        return constant(self.previous)

    def converged(self, gain: Array) -> Array:
        """Up or down."""
        return jnp.abs(gain) < self.tol

    def relaxed(self, tol: float, max_iter: Any) -> Change:
        """With a larger tolerance, where it is."""
        return dataclasses.replace(self, tol=_at_least(self.tol, tol), max_iter=max_iter)


def _at_least(tol: Any, least: float) -> Any:
    """On the host for what is there."""
    if least == 0:
        return tol
    if isinstance(tol, np.ndarray):
        return np.maximum(tol, tol.dtype.type(least))
    return jnp.maximum(tol, least)
