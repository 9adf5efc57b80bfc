"""The derivative of a fit, by the implicit function theorem at the fixed point of EM.

A converged fit θ is a fixed point θ = M(θ, x) of the EM map, whatever way led there. So its
derivative by anything x that M depends on solves (I - ∂M/∂θ) dθ = ∂M/∂x dx. The equations are
solved without the matrix, by a Krylov method whose every product is one pass over the data;
nothing is kept of the iterations of the fit.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data import frame as _frame
from jgmm.data.fold import Blocks, block_size, make_blocks
from jgmm.em import incomplete as partial_data
from jgmm.em import prior as priors
from jgmm.em.objective import em_map
from jgmm.em.prior import Prior, as_prior
from jgmm.families import covariance
from jgmm.fitting import starts
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import FitResult

P = ParamSpec("P")
# What a Krylov method carries: solution, residual, directions, their images, and how many.
_Search = tuple[Array, Array, Array, Array, Array]
_HIGHEST = lax.Precision.HIGHEST
_KRYLOV = 128  # directions kept
_MOST = 1000  # passes over the data
_NEAR = 0.5  # the longest step of Newton's method, in standard deviations of a single sample


@struct
class Given:
    """What the fixed point depends on, in the units of the data."""

    pixels: Array  # [N, D]
    weights: Array  # [N]
    floor: Array  # [D], relative to the variance of the data
    prior: Prior | None
    labels: Array | None  # [N, 1], -1 for unknown


def differentiable(fit: Callable[P, FitResult]) -> Callable[P, FitResult]:
    """``fit``, with derivatives of its mixture and log-likelihood.

    Those by its pixels, weights, prior and reg_covar are those of the fixed point; all others,
    and those of the rest of its result, are zero.
    """
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def differentiable_fit(*args: P.args, **kwargs: P.kwargs) -> FitResult:
        if all(_checks.is_concrete(leaf) for leaf in jax.tree.leaves((args, kwargs))):
            return fit(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = _given(**bound.arguments)
        args, kwargs = jax.tree.map(_constant, (args, kwargs))
        result = fit(*args, **kwargs)
        mixture, log_likelihood = attach(
            result.mixture,
            result.log_likelihood,
            given,
            family=bound.arguments["covariance_type"],
            missing=bound.arguments["missing"] == "nan",
        )
        return dataclasses.replace(result, mixture=mixture, log_likelihood=log_likelihood)

    return differentiable_fit


def _constant(leaf: Any) -> Any:
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
    **others: Any,
) -> Given:
    """What matters of the arguments of `fit`."""
    array = _checks.as_pixels(pixels, missing=missing == "nan")
    d, dtype = array.shape[-1], array.dtype
    if labels is not None:
        labels = starts.as_labels("labels", labels, k, array.shape).astype(dtype)[:, None]
    return Given(
        pixels=array.reshape(-1, d),
        weights=_checks.as_weights(weights, array.shape[:-1], dtype),
        floor=jnp.broadcast_to(_checks.as_nonnegative("reg_covar", reg_covar, dtype), (d,)),
        prior=as_prior(prior, array, k, weights, missing),
        labels=labels,
    )


@functools.partial(jax.jit, static_argnames=("family", "missing"))
def attach(
    mixture: Mixture, log_likelihood: Array, given: Given, family: str, missing: bool
) -> tuple[Mixture, Array]:
    """A fitted mixture and its log-likelihood as functions of what was given."""
    return _fixed_point(family, missing, mixture, log_likelihood, given)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _fixed_point(
    family: str, missing: bool, mixture: Mixture, log_likelihood: Array, given: Given
) -> tuple[Mixture, Array]:
    return mixture, log_likelihood


@_fixed_point.defjvp
def _fixed_point_jvp(family: str, missing: bool, primals: Any, tangents: Any) -> Any:
    given, change = primals[2], tangents[2]
    # By the rule itself, so that it has derivatives too.
    fitted, log_likelihood = _fixed_point(family, missing, *primals)
    known = ("missing",) * missing + ("labels",) * (given.labels is not None)
    k, d = fitted.means.shape

    def measure(given: Given) -> _frame.Frame:
        blocks = _blocks(given.pixels, given.weights, k)
        return _frame.measure(blocks, isotropic=family == "spherical", missing=missing)

    measured, moved = jax.jvp(measure, (given,), (change,))
    # The frame stays where it is, for all that depends on the scale of the data is the floor.
    frame = lax.stop_gradient(measured)

    def step(point: Mixture, given: Given, scale: Array) -> tuple[Mixture, Array]:
        """The EM successor of ``point``, and its log-likelihood."""
        # Unlike in a fit, samples of weight 0 stay where they are: they have derivatives.
        rows = (given.pixels - frame.center) / frame.scale
        if given.labels is not None:
            rows = jnp.concatenate([rows, given.labels], axis=1)
        blocks = _blocks(rows, given.weights, k)
        prior = None if given.prior is None else priors.enter(given.prior, frame)
        floor = given.floor * (scale / frame.scale) ** 2
        following, (head, tail) = em_map(blocks, floor, family, prior, known)(point)
        value, volume = head + tail, jnp.log(frame.scale)
        if prior is not None:
            value = value - priors.log_density(prior, point, family) / jnp.sum(given.weights)
        if missing:
            volume = volume * partial_data.shares_observed(blocks, d)
        return following, value - jnp.sum(volume)

    x, dx = (given, measured.scale), (change, moved.scale)

    def linear(point: Mixture) -> tuple[tuple[Mixture, Array], Callable[[Mixture], Any]]:
        return jax.linearize(lambda point: step(point, *x), point)

    # The fit stops short of the fixed point, by the root of its tolerance. A step of Newton's
    # method goes nearer: the equations are the same.
    point = _frame.mixture_enter(fitted, frame)
    (following, _), pull = linear(point)
    rest = jax.tree.map(jnp.subtract, following, point)
    rest = _solve(point, lambda tangent: pull(tangent)[0], rest)
    point = _nearer(point, lax.stop_gradient(rest))
    _, (push, gain) = jax.jvp(functools.partial(step, point), x, dx)
    _, pull = linear(point)
    shift = _solve(point, lambda tangent: pull(tangent)[0], push)
    leave = functools.partial(_frame.mixture_leave, frame=frame)
    _, change_of_mixture = jax.jvp(leave, (point,), (shift,))
    return (fitted, log_likelihood), (change_of_mixture, gain + pull(shift)[1])


def _blocks(rows: Array, weights: Array, k: int) -> Blocks:
    return make_blocks(rows, weights, block_size(2 * k, rows.shape[1]))  # values and tangents


def _nearer(point: Mixture, rest: Mixture) -> Mixture:
    """``point`` + ``rest``; ``point`` where that is no mixture, or too far to be believed."""
    sizes = _rescaled(point, rest, inverse=True)
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(sizes)))
    there = jax.tree.map(jnp.add, point, rest)
    factors, _ = covariance.inverse_factor(there.covariances)
    fine = (length < _NEAR) & jnp.all(jnp.isfinite(factors)) & jnp.all(there.weights >= 0)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), there, point)


def _solve(point: Mixture, pull: Callable[[Mixture], Mixture], push: Mixture) -> Mixture:
    """The change of the fixed point: shift = pull(shift) + push; NaN where there is none.

    Unused components do not change.
    """
    used = point.weights > 0

    def whiten(tangent: Mixture) -> Mixture:
        return _rescaled(point, tangent, inverse=True)

    def masked(tangent: Mixture) -> Mixture:
        return jax.tree.map(
            lambda leaf: (
                jnp.where(used.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, 0)
                if len(leaf) == len(used)
                else leaf
            ),
            tangent,
        )

    right, unravel = ravel_pytree(whiten(masked(push)))

    def remainder(vector: Array) -> Array:
        shift = _rescaled(point, masked(unravel(vector)), inverse=False)
        return vector - ravel_pytree(whiten(masked(pull(shift))))[0]

    shift = lax.custom_linear_solve(remainder, right, solve=_residuals, transpose_solve=_residuals)
    return _rescaled(point, masked(unravel(shift)), inverse=False)


def _residuals(matvec: Callable[[Array], Array], right: Array) -> Array:
    """The solution of matvec(x) = right by conjugate residuals; NaN where they stay large.

    Generalised to operators that are not quite symmetric (Eisenstat, Elman and Schultz 1983); in
    exact arithmetic it is GMRES (Saad and Schultz 1986). It has one product to compile.
    """
    eps = float(np.finfo(right.dtype).eps)
    size = min(len(right), _KRYLOV)
    goal = eps**0.75 * jnp.linalg.norm(right)

    def turn(state: _Search) -> _Search:
        found, rest, ways, images, n = state
        way, image = rest, matvec(rest)
        for _ in range(2):  # twice is enough
            overlap = jnp.dot(images, image, precision=_HIGHEST)
            way = way - jnp.dot(overlap, ways, precision=_HIGHEST)
            image = image - jnp.dot(overlap, images, precision=_HIGHEST)
        scale = jnp.linalg.norm(image)
        scale = 1 / jnp.where(scale > 0, scale, 1)
        way, image = way * scale, image * scale
        length = jnp.dot(image, rest, precision=_HIGHEST)
        slot = n % size  # the oldest makes room
        return (
            found + length * way,
            rest - length * image,
            ways.at[slot].set(way),
            images.at[slot].set(image),
            n + 1,
        )

    none = jnp.zeros((size, len(right)), right.dtype)
    state = (jnp.zeros_like(right), right, none, none, jnp.zeros((), jnp.int32))
    found, rest, *_ = lax.while_loop(
        lambda state: (jnp.linalg.norm(state[1]) > goal) & (state[4] < _MOST), turn, state
    )
    solved = jnp.linalg.norm(rest) <= eps**0.375 * jnp.linalg.norm(right)
    return jnp.where(solved, found, jnp.nan)


def _rescaled(point: Mixture, tangent: Mixture, inverse: bool) -> Mixture:
    """A change of a mixture in units of what one complete sample tells of it; or back.

    Where the complete-data information is the identity, ∂M/∂θ is symmetric with eigenvalues from
    0 to 1 (but for priors and floors), and lengths mean something to a Krylov method.
    """
    k, d = point.means.shape
    weights = jnp.where(point.weights > 0, point.weights, 1)
    c = point.covariances
    mass = weights if len(c) == k else jnp.ones(1, c.dtype)
    factors, _ = covariance.inverse_factor(c)
    if c.ndim == 3:
        factors = factors if inverse else jnp.linalg.cholesky(c)
        means = jnp.einsum("kij,kj->ki", jnp.broadcast_to(factors, (k, d, d)), tangent.means)
        spread = jnp.einsum("kij,kjl,kml->kim", factors, tangent.covariances, factors)
        size = jnp.sqrt(mass / 2)[:, None, None]
    else:
        factors = factors if inverse else 1 / factors
        means = factors * tangent.means
        spread = factors**2 * tangent.covariances
        size = jnp.sqrt(mass * (d // c.shape[1]) / 2)[:, None]
    root = jnp.sqrt(weights)
    if not inverse:
        root, size = 1 / root, 1 / size
    return Mixture(
        weights=tangent.weights / root, means=means * root[:, None], covariances=spread * size
    )
