"""`fit`: a start, EM until the likelihood stops rising, and the result in the data's units."""

from __future__ import annotations

import os

from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.em.prior import Prior
from jgmm.em.result import FitResult
from jgmm.families.family import Family
from jgmm.families.table import with_rank
from jgmm.fitting.choices import Choices
from jgmm.fitting.delivery import fit_one, told
from jgmm.fitting.derivative import differentiable
from jgmm.mixture.mixture import FitLike, Mixture


@told
@differentiable
def fit(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | int | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | FitLike | ArrayLike = "kmeans",
    covariance_type: str | Family = "full",
    rank: int | None = None,
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
    search: str = "best",
    short_runs: bool = True,
    order: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 20,
    progress: bool = False,
) -> FitResult:
    """Fit a mixture of k Gaussians by maximum likelihood.

    EM (Dempster, Laird and Rubin 1977) from a k-means start, accelerated by SQUAREM (Varadhan and
    Roland 2008). Each step is one pass over the data; no array of N times k values is made.

    The likelihood has many optima. From a start by name a search looks for a good one: short runs
    from six starts (Biernacki, Celeux and Govaert 2003), then rounds of moves, in which two
    components are merged and another is split (Ueda, Nakano, Ghahramani and Hinton 2000). Of more
    than 16,384 samples it sees a subsample, drawn by weight, so that it takes about as long as the
    fit itself; under `jax.jit` it is a part of the program, and compiled with it. With labels,
    which a subsample might miss, there is none.

    The mixture and its log-likelihood have derivatives by pixels, weights, reg_covar and prior,
    forwards and in reverse, at the cost of a few tens of passes over the data:
    experiments/DERIVATIVES.md says what they are and where there are none.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
            Of an image these are [H, W, C], of a grey one [H, W, 1]: two axes are always N samples
            of D features, and what looks like a grey image [H, W] all the same is refused.
        k: the number of components. Of data with fewer distinct samples some get weight 0.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start. By name: "kmeans"; "k-means++", its choice of means; "random",
            random responsibilities; "random_from_data", random samples as means. Or a `Mixture`
            of k components or the result of a fit, means [K, D], integer labels [...] (-1 where
            unknown), or responsibilities [..., K].
        covariance_type: "full", "tied", "diag", "spherical", another of mclust's fourteen by its
            name, such as "VEV", or "factor" or "ppca" (experiments/FAMILIES.md).
        rank: loadings of each component of "factor" and "ppca"; "factor(3)" says the same.
        distribution: of the components, "gaussian" or "student_t", which samples far out do not
            drag along (Peel and McLachlan 2000; experiments/STUDENT.md).
        degrees_of_freedom: of Student-t components: "free", estimated for each between 1 and 1000;
            "shared", estimated, the same for all; or a number, which stays.
        n_restarts: fits from different starts by name, each with a search of its own; the one of
            highest objective is returned.
        max_iter: steps at most, each a pass over all pixels. The runs before them, of a search and
            of ``short_runs``, on a subsample or of few pixels on all of them, may take as many of
            their own, but no more than 200 each. 0 returns the start itself.
        tol: stop when the log-likelihood per pixel gains less, in nats: per step, or per cycle of
            steps and extrapolation with ``accelerate``.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D], all positive or all 0. Of spherical mixtures the mean counts.
        accelerate: extrapolate with SQUAREM. The likelihood never falls, with it or without. Where
            a search saw a subsample, a fit outside of traces that is still on its way after 45
            steps lets the subsample show the way between any two further ones.
        prior: a `Prior`, or "weak" for that of `weak_prior`: the fit maximises the posterior,
            and objective and history are log-likelihood plus log-prior (up to a constant).
        missing: "nan" takes NaN features as missing and fits the likelihood of the others;
            "error" refuses them.
        labels: known components of pixels, integers [...] with -1 for unknown.
        search: "best" looks for a better optimum than one start leads to. Where ``max_iter`` is 50
            or more, history and n_iter tell of it before the steps: the objective, of all pixels,
            of a start, of the best after the runs from starts, and after each round of moves.
            "none" goes on from the start alone.
        short_runs: without a search, whether 65,536 samples or more (and 160 for each parameter)
            begin with a run on a subsample, and of restarts only the best of these goes on; the
            history then begins where that ends. False to see the whole way from the start.
        order: "weight" numbers the components by decreasing weight, so that fits of different
            data, such as the fits of a vmap, compare; None as the start had them.
        checkpoint: outside of traces, a file that the fit is kept in once it has its start, a
            search included, and as it goes on from there. The same call goes on from the file, to
            the same result to the bit as without a break, when the one before was ended by
            whatever; after its end it gives the result again. A file of other data or other
            options, or of samples on another number of devices, is refused. No subsample shows the
            way then.
        every: steps between two writes of that file, which is written whole or not at all; no
            more of them are lost.
        progress: show a bar on the error stream (in a notebook, below the cell) with steps, the
            objective and an estimate of the time left; outside of traces. It moves on after
            each run on the host: those from starts, each round of moves, the run on all samples,
            never within one. What is fitted is the same.

    Returns:
        The fitted mixture in the units of the data, its log-likelihood, the history and a status.
        Outside of traces a `FitWarning` says where that is not CONVERGED, unless ``max_iter=0`` or
        ``tol=0`` ask for just so many steps; and an interrupt (Ctrl-C) need not wait for the end.

    Raises:
        TypeError: an argument of the wrong type; a checkpoint under a trace.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite; a
            checkpoint of something else.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit(pixels, 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    k = _checks.as_count("k", k)
    choices = Choices(
        key=key,
        weights=weights,
        init=init,
        covariance_type=with_rank(covariance_type, rank),
        distribution=distribution,
        degrees_of_freedom=degrees_of_freedom,
        n_restarts=n_restarts,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        accelerate=accelerate,
        prior=prior,
        missing=missing,
        labels=labels,
        search=search,
        short_runs=short_runs,
        order=order,
    )
    return fit_one(pixels, k, choices, checkpoint, every)
