"""Fits as functions of their data: where an argument is traced, the result gets derivatives."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
from jax import lax

from jgmm import _checks
from jgmm.data.samples import Rows
from jgmm.em.prior import as_prior
from jgmm.em.result import FitResult
from jgmm.families.distributions import chosen
from jgmm.fitting.given import as_labels
from jgmm.fitting.options import floor_of
from jgmm.solvers.implicit import Given, attach, remainder

P = ParamSpec("P")


def differentiable(fit: Callable[P, FitResult]) -> Callable[P, FitResult]:
    """``fit``, with derivatives of its mixture and log-likelihood.

    Those by its pixels, weights, prior and reg_covar are those of the fixed point; all others,
    and those of the rest of its result, are zero.
    """
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def differentiable_fit(*args: P.args, **kwargs: P.kwargs) -> FitResult:
        if _checks.all_concrete((args, kwargs)):
            return fit(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given, incomplete = _given(**bound.arguments), bound.arguments["missing"] == "nan"
        args, kwargs, still = jax.tree.map(_constant, (args, kwargs, given))
        result = fit(*args, **kwargs)
        rest = None
        if _checks.all_concrete((result, still)):  # a program of its own, which compiles faster
            rest = remainder(result.mixture, still, incomplete=incomplete)
        mixture, log_likelihood = attach(
            result.mixture, result.log_likelihood, rest, given, incomplete=incomplete
        )
        return dataclasses.replace(result, mixture=mixture, log_likelihood=log_likelihood)

    return differentiable_fit


def _constant(leaf: Any) -> Any:
    """What a leaf is, without its derivatives.

    Outside of programs that is often an array, and the fit then the same program as without.
    """
    while not _checks.is_concrete(leaf) and hasattr(leaf, "primal"):
        leaf = leaf.primal
    return leaf if _checks.is_concrete(leaf) else lax.stop_gradient(leaf)


def _given(
    pixels: Any,
    k: int,
    *,
    weights: Any,
    reg_covar: Any,
    prior: Any,
    missing: str,
    labels: Any,
    distribution: Any,
    degrees_of_freedom: Any,
    **others: Any,
) -> Given:
    """What matters of the arguments of `fit`."""
    array = _checks.as_pixels(pixels, missing=missing == "nan")
    d, dtype, shape = array.shape[-1], array.dtype, array.shape
    rows = Rows(
        features=array.reshape(-1, d),
        weights=_checks.as_weights(weights, shape[:-1], dtype),
        labels=None if labels is None else as_labels("labels", labels, k, shape),
    )
    kind, dof = chosen(distribution, degrees_of_freedom, dtype)
    return Given(
        rows=rows,
        floor=floor_of(reg_covar, d, dtype),
        prior=as_prior(prior, array, k, weights, missing),
        degrees_of_freedom=None if kind.estimated else dof,
    )
