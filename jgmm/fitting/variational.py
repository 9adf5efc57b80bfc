"""`fit_variational`: a posterior of mixtures, by variational Bayes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.arrays import module_of
from jgmm.data.devices import over_blocks
from jgmm.data.origin import less, plus
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.em.problem import Problem
from jgmm.families.family import Family
from jgmm.families.table import conjugate_names, family_of
from jgmm.fitting.batch import over, started
from jgmm.fitting.beliefs import above, as_mean, as_scale
from jgmm.fitting.choices import SEARCHES, Choices
from jgmm.fitting.delivery import told
from jgmm.fitting.options import Request, read
from jgmm.fitting.population import comparable
from jgmm.mixture.mixture import FitLike, Mixture, standardize, unstandardize
from jgmm.solvers.iterate import Solver, StoppingRule, iterate
from jgmm.solvers.merging import Merging
from jgmm.variational.posterior import VariationalPosterior, resized
from jgmm.variational.problem import Asked, VariationalProblem, prior_for, prior_outside
from jgmm.variational.result import VariationalResult
from jgmm.variational.weights import WEIGHT_PRIORS, WeightPrior
from jgmm.variational.wishart import wishart_of


@told
def fit_variational(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | int | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | FitLike | VariationalResult | ArrayLike = "kmeans",
    covariance_type: str | Family = "full",
    weight_concentration_prior_type: str = "dirichlet_process",
    weight_concentration_prior: ArrayLike | None = None,
    mean_precision_prior: ArrayLike | None = None,
    mean_prior: ArrayLike | None = None,
    degrees_of_freedom_prior: ArrayLike | None = None,
    covariance_prior: ArrayLike | None = None,
    n_restarts: int = 1,
    max_iter: int = 1000,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    missing: str = "error",
    labels: ArrayLike | None = None,
    search: str = "best",
) -> VariationalResult:
    """Find what pixels say of a mixture of at most k Gaussians, by variational Bayes.

    The posterior of weights, means and precisions is approached by one in which responsibilities
    are independent of them; each step raises a bound of the evidence (Attias 2000; Bishop 2006,
    section 10.2; with a Dirichlet process Blei and Jordan 2006). Components that the data do not
    ask for lose their pixels on the way: k bounds their number and need not be right. Each step is
    one pass over the data, as one of EM is.

    Priors are those of scikit-learn's `BayesianGaussianMixture` where they are None, and may be
    traced: `jax.vmap` over a concentration is one program. Two things differ from scikit-learn:
    tied components have one precision and not k equal ones, those of diag and spherical ones have
    gammas and not a Wishart of D dimensions, so that the bound is one of the evidence in all of
    them; `jgmm.sklearn.BayesianGaussianMixture` has its figures.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components at most.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        weights: sample weights >= 0 of shape [...] or [N], which count as repetitions; None means
            all 1.
        init: where to start, see `fit`; or an earlier result, to go on from.
        covariance_type: "full", "tied", "diag", "spherical", "EEI" or "EII".
        weight_concentration_prior_type: "dirichlet_process", or "dirichlet_distribution".
        weight_concentration_prior: > 0, the less the fewer components; None means 1/k.
        mean_precision_prior: how strongly means are expected at their prior, in samples, > 0;
            None means 1.
        mean_prior: where means are expected [D]; None for the mean of the pixels.
        degrees_of_freedom_prior: of the precisions, in samples, above D - 1 with matrices; None
            means D.
        covariance_prior: the scale of the covariances, their typical size times the degrees of
            freedom: [D, D] positive definite, variances [D], or a number; None for the covariance
            of the pixels.
        n_restarts: fits from different starts by name; the one of the highest bound is returned.
        max_iter: steps at most, each a pass over all pixels; 0 returns the start itself.
        tol: stop when ten steps together gain less, in nats per pixel. Components vanish slowly.
        reg_covar: least variance, relative to the data's, of the covariance prior where that is
            taken from the pixels; a number or [D].
        missing: "nan" takes NaN features as missing; "error" refuses them.
        labels: known components of pixels, integers [...] with -1 for unknown. Without any,
            components are numbered by decreasing weight.
        search: "best" tries, where the run has settled, whether the bound is higher with two
            components merged, for pairs that are alike; these steps count as others. It begins
            where a step gains less than 1e-5, whatever ``tol``. "none" does not, nor is there
            a search where K D is above 2,048.

    Returns:
        The posterior and its bound, in the units of the data, the history and a status. Outside of
        traces a `FitWarning` says where that is not CONVERGED.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite, a
            prior that is none.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2)).at[500:].add(20.0)
        >>> result = jgmm.fit_variational(pixels, 6)
        >>> print(result.n_in_use, result.counts.round())
        2 [500. 500.   0.   0.   0.   0.]
    """
    k = _checks.as_count("k", k)
    family = family_of(covariance_type)
    if not family.conjugate:
        raise ValueError(
            f"covariance_type: expected one of {', '.join(conjugate_names())}, got {family.name}"
        )
    kind = _checks.one_of(
        "weight_concentration_prior_type", weight_concentration_prior_type, WEIGHT_PRIORS
    )
    choices = Choices(
        key=key,
        weights=weights,
        init=init,
        covariance_type=covariance_type,
        n_restarts=n_restarts,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        missing=missing,
        labels=labels,
        short_runs=False,
    )
    request = read(pixels, (k,), choices, spread=True)
    d, dtype = request.problem.frame.center.shape[0], request.problem.weight.dtype
    asked = Asked(
        concentration=above("weight_concentration_prior", weight_concentration_prior, 1 / k, dtype),
        mean_strength=above("mean_precision_prior", mean_precision_prior, 1.0, dtype),
        dof=above(
            *("degrees_of_freedom_prior", degrees_of_freedom_prior, d, dtype),
            least=wishart_of(family, d).least_dof,
        ),
        mean=as_mean("mean_prior", mean_prior, d, dtype, request.origin),
        scale=as_scale("covariance_prior", covariance_prior, d, dtype),
    )
    searching = _checks.one_of("search", search, SEARCHES) == "best"
    solver = Merging(merges=searching and comparable(request.n_components, d))
    given = init.posterior if isinstance(init, VariationalResult) else None
    return _fitted(request, k, asked, given, WEIGHT_PRIORS[kind], solver)


def _fitted(
    request: Request,
    k: int,
    asked: Asked,
    given: VariationalPosterior | None,
    weight_prior: WeightPrior,
    solver: Solver,
) -> VariationalResult:
    """The best of the fits of a request."""
    options, settings, most = request.options, request.settings, request.n_components
    used: Any = np.arange(most) < k
    starts: Mixture | VariationalPosterior
    if given is not None:
        starts = _as_start(given, most, request, weight_prior)
    else:
        first = request.used([0])
        keys, mesh, cut = request.keys, request.mesh, options.cut
        assert cut.few is None
        starts = started(
            request.problem, first, keys, settings.init, None, options.start, None, mesh
        )
        # On the host nothing is compiled for it.
        starts = jax.device_get(starts) if _checks.all_concrete(starts) else starts
        starts = jax.tree.map(lambda leaf: leaf[0], starts)
    found = _fits(
        request.problem,
        starts,
        used,
        asked,
        settings.stop,
        weight_prior=weight_prior,
        solver=solver,
        capacity=options.capacity,
        mesh=request.mesh,
    )
    concrete = _checks.all_concrete(found)
    found = jax.device_get(found) if concrete else found  # where nothing is compiled for each k
    xp = module_of(found.lower_bound)
    score = xp.where(xp.isfinite(found.lower_bound), found.lower_bound, -xp.inf)
    best: VariationalResult = jax.tree.map(lambda leaf: leaf[xp.argmax(score)], found)
    posterior = resized(best.posterior, k)
    prior, origin = best.prior, request.origin
    result = dataclasses.replace(
        best,
        posterior=amend(posterior, means=plus(posterior.means, origin)),
        prior=amend(prior, mean=plus(prior.mean, origin)),
        history=best.history[: request.max_iter + 1],
        counts=best.counts[:k],
    )
    return jax.tree.map(_checks.as_array, result) if concrete else result


@program("weight_prior", "solver", "capacity", "mesh")
def _fits(
    problem: Problem,
    starts: Mixture | VariationalPosterior,
    used: Array,
    asked: Asked,
    stop: StoppingRule,
    weight_prior: WeightPrior,
    solver: Solver,
    capacity: int,
    mesh: Mesh | None,
) -> VariationalResult:
    """The fits from mixtures [R] in the frame, or from posteriors in the units of the data."""

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> VariationalResult:
        starts, used, asked, stop = arguments
        problem = problem.on(samples)
        prior = prior_for(problem, asked)
        bayes = VariationalProblem(
            problem=problem, prior=prior, weight_prior=weight_prior, used=used
        )

        def one(start: Any) -> VariationalResult:
            if isinstance(start, Mixture):
                first = bayes.start(start)
            else:
                first = standardize(start, problem.frame)
            run = iterate(bayes, solver, first, stop, capacity, jax.random.key(0))
            best, value = run.best, run.value.rounded()
            mixture = best.mixture(used)
            return VariationalResult(
                posterior=unstandardize(best, problem.frame),
                prior=prior_outside(prior, problem),
                lower_bound=problem.in_data_units(mixture, value),
                history=problem.in_data_units(mixture, run.history),
                n_iter=run.n_iter,
                status=run.status,
                weight=problem.weight,
                counts=weight_prior.counts(best.concentrations, prior.concentration),
            )

        if len(starts.means) > 1:
            return over(one, starts)
        alone = one(jax.tree.map(lambda leaf: leaf[0], starts))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    arguments = (starts, used, asked, stop)
    found: VariationalResult = over_blocks(
        on_device, problem.samples, mesh, problem.on(None), *arguments
    )
    return found


def _as_start(
    given: VariationalPosterior, most: int, request: Request, weight_prior: WeightPrior
) -> VariationalPosterior:
    """An earlier posterior [1], for as many components as the program has."""
    if given.weight_prior != weight_prior:
        raise ValueError(
            f"init: expected a result with weight_concentration_prior_type {weight_prior.name!r}, "
            f"got {given.weight_prior.name!r}"
        )
    moved = amend(given, means=less(given.means, request.origin))
    wide = resized(jax.device_get(moved) if _checks.all_concrete(moved) else moved, most)
    dtype = request.problem.weight.dtype
    start: VariationalPosterior = jax.tree.map(
        lambda leaf: _checks.as_array(leaf[None], dtype), wide
    )
    return start
