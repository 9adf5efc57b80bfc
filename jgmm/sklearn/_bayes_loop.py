"""Variational Bayes as scikit-learn counts it: jgmm's, with conventions of its own.

Its bound is that after the M-step, a sum over samples, without constant terms. Precisions of diag
and spherical components have the expectations of a Wishart of D dimensions, those of tied ones are
K with the same posterior, and a ridge is added to every covariance of samples.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jgmm import _checks
from jgmm._status import Status
from jgmm._struct import amend, struct
from jgmm.data.compensated import Compensated, plus
from jgmm.data.devices import Placed, over_samples, place
from jgmm.data.programs import program, round_up
from jgmm.data.samples import Rows, Samples, block_size
from jgmm.em import prior as priors
from jgmm.em.moments import Moments, moments_of
from jgmm.em.prior import Prior
from jgmm.em.problem import pose
from jgmm.families.gamma import log_gamma
from jgmm.mixture.components import pad
from jgmm.mixture.mixture import Mixture, standardize, unstandardize
from jgmm.sklearn._loops import capacity_for
from jgmm.solvers.em import LastOfEm
from jgmm.solvers.iterate import iterate
from jgmm.solvers.stopping import Change
from jgmm.variational.posterior import VariationalPosterior, resized
from jgmm.variational.problem import VariationalProblem
from jgmm.variational.weights import Dirichlet, WeightPrior
from jgmm.variational.wishart import Wishart


@struct
class _Problem(VariationalProblem):
    ridge: Array  # [D], in the frame

    @property
    def wishart(self) -> Wishart:
        d = len(self.ridge)
        return Wishart(d, d, 1)

    @property
    def copies(self) -> Array:
        n = jnp.sum(self.used).astype(self.ridge.dtype)
        return n if self.problem.family.shared else jnp.ones_like(n)

    def arranged(self, moments: Moments) -> Moments:
        return moments

    def step(
        self, posterior: VariationalPosterior
    ) -> tuple[VariationalPosterior, Compensated[Array]]:
        mixture, stats, evidence = self.expectation(posterior)
        moments = moments_of(mixture, stats)
        wide, d = self.problem.family.wide, mixture.n_features
        spreads = moments.spreads + wide.diagonal(self.ridge)
        following = self.maximisation(amend(moments, spreads=spreads))
        # Log-densities of samples with their components, which the entropy of these is without.
        _, half_log_dets = mixture.family.inverse_root(mixture.covariances, d)
        logs = self.logits(posterior) - half_log_dets - d / 2 * math.log(2 * math.pi)
        traces = jnp.sum(wide.variances(stats.scatters, *mixture.means.shape), axis=1)
        joint = jnp.sum(jnp.where(self.used, stats.counts * logs - traces / 2, 0))
        rest = (self._normalisers(following) - joint) / self.problem.weight
        return following, plus(evidence, rest)

    def _normalisers(self, posterior: VariationalPosterior) -> Array:
        """Of the posterior: what the bound has beside the entropy."""
        d, family = posterior.n_features, posterior.family
        nus = posterior.degrees_of_freedom
        _, half_log_dets = family.inverse_root(posterior.covariances, d)
        halves = nus / 2 - jnp.arange(d, dtype=nus.dtype)[:, None] / 2
        wishart = nus * (-half_log_dets - d / 2 * jnp.log(nus / 2))
        wishart = wishart + jnp.sum(log_gamma(halves), axis=0)
        idle = jnp.zeros_like(wishart)
        found = self.copies * jnp.sum(family.select(self.used, wishart, idle))
        betas = jnp.where(self.used, posterior.mean_precisions, 1)
        found = found - d / 2 * jnp.sum(jnp.log(betas))
        known = jnp.where(self.used, posterior.concentrations, 1)
        if self.weight_prior == Dirichlet():
            total = log_gamma(jnp.sum(jnp.where(self.used, known, 0)))
        else:
            total = jnp.where(self.used, log_gamma(jnp.sum(known, axis=0)), 0)
        inner = jnp.where(self.used, log_gamma(known), 0)
        return found + jnp.sum(inner) - jnp.sum(total)


@struct
class BayesResult:
    """A run: the posterior after the last step, and the bound after each."""

    posterior: VariationalPosterior
    first: VariationalPosterior  # before the first step
    bounds: Array  # [capacity], nats of all samples; then NaN
    n_iter: Array  # []
    converged: Array  # [] bool
    failed: Array  # [] bool, a covariance was not positive definite


@program("weight_prior", "size", "capacity", "mesh")
def _bayes(
    placed: Placed,
    start: Mixture | VariationalPosterior,
    used: Array,
    prior: Prior,
    reg_covar: Array,
    stop: Change,
    weight_prior: WeightPrior,
    size: int,
    capacity: int,
    mesh: Mesh | None,
) -> BayesResult:
    def fit(raw: Samples, *arguments: Any) -> BayesResult:
        start, used, prior, reg_covar, stop = arguments
        problem = pose(raw, start.family, jnp.zeros_like(prior.mean))
        frame, weight = problem.frame, problem.weight
        bayes = _Problem(
            problem=problem,
            prior=priors.standardize(prior, frame),
            weight_prior=weight_prior,
            used=used,
            ridge=reg_covar / frame.scale**2,
        )
        # In the units of the data a Wishart has less volume, for each degree of freedom.
        dofs = jnp.sum(used).astype(weight.dtype) * prior.dof / weight + 1
        volume = jnp.sum(jnp.log(frame.scale)) * dofs
        stop = dataclasses.replace(
            stop, tol=stop.tol / weight, previous=stop.previous / weight + volume
        )
        if isinstance(start, Mixture):
            first = bayes.start(standardize(start, frame))
        else:
            first = standardize(start, frame)
        run = iterate(bayes, LastOfEm(), first, stop, capacity, jax.random.key(0))
        last = unstandardize(run.state, frame)
        return BayesResult(
            posterior=last,
            first=unstandardize(first, frame),
            bounds=(run.history - volume) * weight,
            n_iter=run.n_iter + 1,
            converged=run.status == Status.CONVERGED,
            failed=(run.status == Status.NONFINITE)
            | (run.status == Status.DEGENERATE)
            | ~jnp.all(jnp.isfinite(start.family.root(last.covariances))),
        )

    arguments = (start, used, prior, reg_covar, stop)
    result: BayesResult = over_samples(fit, placed, size, mesh, *arguments)
    return result


def bayes(
    x: np.ndarray,
    weights: np.ndarray,
    start: Mixture | VariationalPosterior,
    prior: Prior,
    weight_prior: WeightPrior,
    *,
    tol: float,
    reg_covar: float,
    max_iter: int,
    bound: float,
) -> BayesResult:
    """Steps over samples [N, D] with weights [N] until the bound changes by less than tol.

    Args:
        x: the samples.
        weights: their weights.
        start: moments of the samples as a mixture, the ridge included, or a posterior.
        prior: in the units of the data.
        weight_prior: of the weights.
        tol: in nats per step, of all samples together.
        reg_covar: a variance that every M-step adds, absolute.
        max_iter: steps at most; of 0 the bounds are none.
        bound: what the first bound is compared with, -inf if with nothing.

    Returns:
        The result, on the host.
    """
    dtype = x.dtype
    placed, mesh = place(
        Rows(features=_checks.as_array(x), weights=_checks.as_array(weights, dtype))
    )
    k = start.n_components
    most = round_up(k, x.size)
    padded = pad(start, most) if isinstance(start, Mixture) else resized(start, most)

    def cast(leaf: Any) -> Array:
        return _checks.as_array(leaf, dtype)

    result = _bayes(
        placed,
        jax.tree.map(cast, padded),
        _checks.as_array(np.arange(most) < k),
        jax.tree.map(cast, prior),
        cast(reg_covar),
        Change(
            tol=cast(tol), max_iter=_checks.as_array(max_iter - 1, jnp.int32), previous=cast(bound)
        ),
        weight_prior=weight_prior,
        size=block_size(most, x.shape[1], dtype),
        capacity=capacity_for(max_iter),
        mesh=mesh,
    )
    result = jax.device_get(result)
    n_iter: Any = np.minimum(result.n_iter, max_iter)
    return dataclasses.replace(
        result,
        posterior=resized(result.posterior, k),
        first=resized(result.first, k),
        bounds=result.bounds[:n_iter],
        n_iter=n_iter,
    )
