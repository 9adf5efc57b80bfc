"""`fit`: a start, EM until the likelihood stops rising, and the result in the data's units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.clustering.k_means import restart_keys
from jgmm.data.devices import Data, place
from jgmm.data.fold import block_size
from jgmm.em.prior import Prior, as_prior
from jgmm.families.covariance import FAMILIES
from jgmm.fitting import starts
from jgmm.fitting.batch import Climb, fit_lanes, pool_size
from jgmm.fitting.dispatch import in_turn, run_lanes
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.implicit import differentiable
from jgmm.solvers.iterate import FitResult, Settings

# Lengths of the history that programs are compiled for; results are cut to max_iter + 1.
_CAPACITY = 512


def prepare(
    array: Array,
    weights: ArrayLike | None,
    reg_covar: ArrayLike,
    tol: ArrayLike,
    max_iter: int,
    *,
    spread: bool = True,
    side: Sequence[Array] = (),
) -> tuple[Data, Mesh | None, Settings]:
    """Samples and checked weights on their devices (see `place`), and the traced settings.

    ``array`` is from `as_pixels`; the columns of ``side``, [N, E] each, are put behind its
    features.
    """
    d, dtype = array.shape[-1], array.dtype
    sample_weights = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat = array if array.ndim == 2 else array.reshape(-1, d)  # which would be a copy
    del array
    if side:
        flat = jnp.concatenate([flat, *side], axis=1)
    data, mesh = place(flat, sample_weights, spread=spread)
    floor = _checks.as_nonnegative("reg_covar", reg_covar, dtype)
    if floor.shape not in ((), (d,)):
        raise ValueError(f"reg_covar: expected a number or shape ({d},), got {floor.shape}")
    settings = Settings(
        floor=jnp.broadcast_to(floor, (d,)),
        tol=_checks.as_nonnegative("tol", tol, dtype),
        max_iter=jnp.asarray(max_iter, jnp.int32),
    )
    return data, mesh, settings


def history_capacity(max_iter: int) -> int:
    """The history length to compile for: one of few."""
    return _CAPACITY * 2 ** max(0, -(-(max_iter + 1) // _CAPACITY) - 1).bit_length()


@differentiable
def fit(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | ArrayLike = "kmeans",
    covariance_type: str = "full",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
    short_runs: bool = True,
) -> FitResult:
    """Fit a mixture of k Gaussians by maximum likelihood.

    EM (Dempster, Laird and Rubin 1977) from a k-means start, accelerated by SQUAREM (Varadhan and
    Roland 2008). Each step is one pass over the data; no array of N times k values is made.

    Of 65,536 samples or more (and 160 for each parameter) a start by name is first fitted to a
    subsample, and with restarts only the best of these short runs goes on with all samples
    (Biernacki, Celeux and Govaert 2003). Not so with labels, which a subsample might miss.

    The mixture and its log-likelihood have derivatives by pixels, weights, reg_covar and prior,
    forwards and in reverse, at the cost of a few tens of passes over the data: see the README for
    what they are and where there are none.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components. Of data with fewer distinct samples some get weight 0.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start. By name: "kmeans"; "k-means++", its choice of means; "random",
            random responsibilities; "random_from_data", random samples as means. Or a `Mixture`
            of k components, means [K, D], integer labels [...] (-1 where unknown), or
            responsibilities [..., K].
        covariance_type: "full", "tied", "diag" or "spherical".
        n_restarts: fits from different starts; the one of highest likelihood is returned.
        max_iter: steps at most.
        tol: stop when the log-likelihood per pixel gains less, in nats: per step, or per cycle of
            steps and extrapolation with ``accelerate``.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D].
        accelerate: extrapolate with SQUAREM. The likelihood never falls, with it or without.
        prior: a `Prior`, or "weak" for that of `weak_prior`: the fit maximises the posterior,
            and the history is that of log-likelihood plus log-prior (up to a constant).
        missing: "nan" takes NaN features as missing and fits the likelihood of the others;
            "error" refuses them.
        labels: known components of pixels, integers [...] with -1 for unknown.
        short_runs: of many samples begin with a subsample; the history then begins where that
            ends. False to see the whole way from the start.

    Returns:
        The fitted mixture in the units of the data, its log-likelihood, the history and a status.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit(pixels, 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    return fit_by(
        None,
        pixels,
        k,
        key=key,
        weights=weights,
        init=init,
        covariance_type=covariance_type,
        n_restarts=n_restarts,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        accelerate=accelerate,
        prior=prior,
        missing=missing,
        labels=labels,
        short_runs=short_runs,
    )


def fit_by(
    climb: Climb | None,
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None,
    weights: ArrayLike | None,
    init: str | Mixture | ArrayLike,
    covariance_type: str,
    n_restarts: int,
    max_iter: int,
    tol: ArrayLike,
    reg_covar: ArrayLike,
    accelerate: bool,
    prior: Prior | str | None,
    missing: str,
    labels: ArrayLike | None,
    short_runs: bool,
) -> FitResult:
    """`fit` with any ``climb`` from the start to the result; None means EM."""
    k = _checks.as_count("k", k)
    n_restarts = _checks.as_count("n_restarts", n_restarts)
    max_iter = _checks.as_count("max_iter", max_iter, minimum=0)
    _checks.one_of("covariance_type", covariance_type, FAMILIES)
    _checks.one_of("missing", missing, ("error", "nan"))
    gaps = missing == "nan"
    array = _checks.as_pixels(pixels, missing=gaps)
    n, d, dtype = math.prod(array.shape[:-1]), array.shape[-1], array.dtype
    start, given, aside = starts.read(init, k, array.shape, covariance_type, dtype)
    side = [] if aside is None else [aside]
    if labels is not None:
        column = starts.as_labels("labels", labels, k, array.shape)
        side.insert(0, column.astype(dtype)[:, None])
    prior = as_prior(prior, array, k, weights, missing)
    data, mesh, settings = prepare(array, weights, reg_covar, tol, max_iter, side=side)
    del array  # of large data one copy less
    keys = restart_keys(key, n_restarts if start in starts.STARTS else 1)
    used = given.weights > 0 if isinstance(given, Mixture) else np.ones(k, bool)
    side_by_side = 1 if in_turn(data) else len(keys)
    fit_some = partial(
        fit_lanes,
        data,
        covariance_type=covariance_type,
        size=block_size(k * side_by_side * (d + 1 if gaps else 1), d),
        capacity=history_capacity(max_iter),
        accelerate=accelerate,
        mesh=mesh,
        prior=prior,
        known=("missing",) * gaps + ("labels",) * (labels is not None),
        climb=climb,
    )
    brief = short_runs and start in starts.STARTS and labels is None
    pool = pool_size(n, k, d, covariance_type) if brief else 0
    if pool:
        short = partial(fit_some, init=None, settings=settings, start=start, pool=pool)
        given = best_of(run_lanes(short, used[None], keys, data, mesh)).mixture
        start, keys = "mixture", keys[:1]
    whole = partial(
        fit_some,
        init=jax.tree.map(lambda leaf: leaf[None, None], given),
        settings=settings,
        start=start,
    )
    return best_of(run_lanes(whole, used[None], keys, data, mesh), max_iter)


@partial(jax.jit, static_argnames="max_iter")
def best_of(lanes: FitResult, max_iter: int = 0) -> FitResult:
    """`best_lane` of results [1, R]."""
    return best_lane(jax.tree.map(lambda leaf: leaf[0], lanes), max_iter)


@partial(jax.jit, static_argnames="max_iter")
def best_lane(lanes: FitResult, max_iter: int) -> FitResult:
    """Of results [R] that of the highest likelihood, its history cut to ``max_iter`` + 1."""
    score = jnp.where(jnp.isfinite(lanes.log_likelihood), lanes.log_likelihood, -jnp.inf)
    best: FitResult = jax.tree.map(lambda leaf: leaf[jnp.argmax(score)], lanes)
    return dataclasses.replace(best, history=best.history[: max_iter + 1])
