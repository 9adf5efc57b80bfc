"""Variational fits as those of a mixture: with the components in use, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jgmm._checks import as_array
from jgmm.data.programs import round_up
from jgmm.em.result import FitResult
from jgmm.fitting.sweeps import SweepResult
from jgmm.mixture.components import pad, take
from jgmm.mixture.criteria import all_criteria
from jgmm.mixture.density import score
from jgmm.variational.result import VariationalResult


def fit_of(result: VariationalResult, pixels: ArrayLike, weights: ArrayLike | None) -> FitResult:
    """The fit that the mixture of a posterior is to pixels [N, D], components in use alone.

    Its objective and history are of the evidence bound.
    """
    used = np.flatnonzero(np.asarray(result.in_use))
    mixture = jax.tree.map(as_array, take(jax.device_get(result.mixture), used))
    return FitResult(
        mixture=mixture,
        log_likelihood=score(mixture, pixels, weights),
        objective=result.lower_bound,
        history=result.history,
        n_iter=result.n_iter,
        status=result.status,
        weight=result.weight,
        at_floor=as_array(np.zeros(len(used), bool)),  # the prior keeps them from collapsing
    )


def as_sweep(
    fits: Sequence[FitResult], pixels: ArrayLike, weights: ArrayLike | None
) -> SweepResult:
    """Fits of pixels as a sweep, of each number of components that of the highest objective."""
    best: dict[int, FitResult] = {}
    for fit in sorted(fits, key=lambda fit: float(fit.objective)):
        best[fit.mixture.n_components] = fit
    ks, most = sorted(best), max(best)

    def padded(fit: FitResult) -> FitResult:
        wide = pad(jax.device_get(fit.mixture), most)
        flat = np.zeros(most, bool)
        return jax.device_get(fit.replace(mixture=wide, at_floor=flat))  # type: ignore[attr-defined]

    def stacked(*leaves: Any) -> Any:
        return as_array(np.stack(leaves)[:, None])

    def criteria(k: int) -> dict[str, Any]:
        mixture = pad(jax.device_get(best[k].mixture), round_up(k, np.size(pixels)))
        return jax.device_get(all_criteria(mixture, pixels, weights))

    return SweepResult(
        fits=jax.tree.map(stacked, *(padded(best[k]) for k in ks)),
        n_components=as_array(np.array(ks, np.int32)),
        **jax.tree.map(stacked, *map(criteria, ks)),
    )
