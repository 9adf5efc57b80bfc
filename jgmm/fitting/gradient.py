"""`fit_gradient`: the fit by any optimizer of optax, in batches if need be."""

from __future__ import annotations

import functools

import optax
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.em.prior import Prior
from jgmm.em.result import FitResult
from jgmm.families.table import family_of, with_rank
from jgmm.fitting.choices import Choices
from jgmm.fitting.delivery import fit_one, told
from jgmm.fitting.derivative import differentiable
from jgmm.mixture.mixture import FitLike, Mixture
from jgmm.solvers.optimizer import Optimizer
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stages import Stage

_POLISH = 500  # steps of EM at most


@functools.cache
def _default(n_steps: int | None) -> optax.GradientTransformation:
    """One object for each length, because programs are compiled for the object."""
    return optax.sgd(1.0 if n_steps is None else optax.cosine_decay_schedule(1.0, n_steps))


@told
@differentiable
def fit_gradient(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | int | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | FitLike | ArrayLike = "kmeans",
    covariance_type: str = "full",
    rank: int | None = None,
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    optimizer: optax.GradientTransformation | None = None,
    n_steps: int = 2000,
    batch_size: int | None = None,
    polish: str | None = None,
    n_restarts: int = 1,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
    order: str | None = None,
) -> FitResult:
    """Fit a mixture of k Gaussians by any optimizer of optax.

    The same likelihood, starts and families as `fit`, climbed by its gradient, which costs as
    much as a step of EM (Fisher's identity). Parameters are log weights, whitened means and
    Cholesky factors of what covariances have beyond the floor, in units in which a gradient step
    of length 1 is to first order a step of EM. For most data `fit` is the better choice; this is
    for minibatches, and for optimizers of your own.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components.
        key: a JAX PRNG key, or an integer to make one of, for the start and the batches; None
            means 0.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start, and from there with all samples; see `fit`.
        covariance_type: "full", "tied", "diag", "spherical", "EII", "EEI", "factor" or "ppca".
        rank: see `fit`.
        distribution: see `fit`.
        degrees_of_freedom: see `fit`.
        optimizer: an optax ``GradientTransformation``; None means steps of length 1, which with
            batches decay to 0 along a cosine. ``optax.lbfgs()`` takes fewer passes over all samples
            and may end in another optimum, as acceleration may. Programs are compiled for the
            object: make it once, not for every call.
        n_steps: steps of the optimizer at most.
        batch_size: samples drawn for each step, with replacement and in proportion to their
            weights; None means all samples.
        polish: "em" ends with up to 500 steps of accelerated EM.
        n_restarts: fits from different starts, of which the best is returned.
        tol: stop when 20 steps together gain less, in nats per pixel; with batches never.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D], all positive or all 0.
        prior: see `fit`.
        missing: see `fit`.
        labels: see `fit`.
        order: see `fit`.

    Returns:
        The best mixture met and its log-likelihood; the history [n_steps + 1], with 500 more
        where polished; and a status: CONVERGED, or MAX_ITER after ``n_steps``. With batches the
        history is that of each step's batch, and of all samples at the end, and the
        mixture is the last, or the start should that be better. Derivatives are as those of
        `fit`, and as good as the mixture has converged.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit_gradient(pixels, 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    n_steps = _checks.as_count("n_steps", n_steps, minimum=0)
    if batch_size is not None:
        batch_size = _checks.as_count("batch_size", batch_size)
    if polish is not None:
        _checks.one_of("polish", polish, ("em",))
    k = _checks.as_count("k", k)
    covariance_type = with_rank(covariance_type, rank)
    if family_of(covariance_type).restrained:
        raise ValueError(
            f"covariance_type: expected a family of free covariances, got {covariance_type}, "
            "which jgmm.fit climbs by EM"
        )
    if optimizer is None:
        optimizer = _default(None if batch_size is None else max(n_steps, 1))
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer: expected an optax GradientTransformation, got {optimizer!r}")
    polishing = (Stage(Squarem()),) if polish else ()
    stages = (Stage(Optimizer(optimizer, batch_size), n_steps), *polishing)
    choices = Choices(
        key=key,
        weights=weights,
        init=init,
        covariance_type=covariance_type,
        distribution=distribution,
        degrees_of_freedom=degrees_of_freedom,
        n_restarts=n_restarts,
        max_iter=n_steps + (_POLISH if polish else 0),
        tol=tol,
        reg_covar=reg_covar,
        prior=prior,
        missing=missing,
        labels=labels,
        short_runs=False,
        order=order,
        stages=stages,
    )
    return fit_one(pixels, k, choices)
