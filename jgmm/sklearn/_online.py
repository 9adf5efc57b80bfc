"""A step of online EM as an estimator takes it, with a ridge and no floor."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.programs import program
from jgmm.em.moments import Moments, implied
from jgmm.families.floor import Ridge
from jgmm.fitting.streams.online import advanced
from jgmm.mixture.mixture import Mixture


@program(once=True)
def _step(
    mixture: Mixture, old: Moments, x: Array, weights: Array, memory: Array, ridge: Ridge
) -> tuple[Mixture, Moments, Array]:
    return advanced(mixture, mixture, old, x, weights, memory, ridge.variances, ridge)


def step(
    mixture: Mixture,
    moments: Moments | None,
    weight: float | None,
    x: np.ndarray,
    weights: np.ndarray,
    reg_covar: float,
    memory: float,
) -> tuple[Mixture, Moments, float]:
    """The mixture, the moments and the bound after samples [n, D] of weights [n].

    Args:
        mixture: so far, the ridge included.
        moments: of what came before; None for what the mixture says of it.
        weight: of what came before, where that is so; None for as much as comes now.
        x: the samples.
        weights: their weights.
        reg_covar: the ridge, absolute.
        memory: see `jgmm.partial_fit`.

    Returns:
        All on the host.
    """
    dtype = np.dtype(x.dtype)
    mixture = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), mixture)
    ridge: Any = np.full(x.shape[1], reg_covar, dtype)
    if moments is None:
        bare = np.asarray(mixture.covariances - mixture.family.diagonal(_checks.as_array(ridge)))
        known: Any = np.asarray(weights.sum() if weight is None else weight, dtype)
        moments = implied(amend(mixture, covariances=bare), known)
    old = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), moments)
    found = _step(
        mixture,
        old,
        x,  # type: ignore[arg-type]
        weights,  # type: ignore[arg-type]
        np.asarray(memory, dtype),  # type: ignore[arg-type]
        Ridge(variances=ridge),
    )
    following, moments, bound = jax.device_get(found)
    return following, moments, float(bound)
