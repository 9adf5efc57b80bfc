"""The problem of variational Bayes: the evidence bound, and the map that climbs it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlogy

from jgmm._struct import build, struct
from jgmm.data.compensated import Compensated, plus
from jgmm.data.products import along
from jgmm.em.moments import Moments, implied, moments_of
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.em.statistics import SufficientStats, expectation, statistics
from jgmm.families.floor import Floor
from jgmm.families.scatters import Scatters
from jgmm.mixture.mixture import Mixture
from jgmm.variational.posterior import VariationalPosterior
from jgmm.variational.weights import WeightPrior
from jgmm.variational.wishart import Wishart, wishart_of


@struct
class VariationalProblem:
    """What the data say under a prior (Attias 2000; Bishop 2006, section 10.2).

    The expected log-density of a sample under a posterior is that of a Gaussian of the mean
    parameters, times a weight that is less than the component's own. So a step has the E-step of
    EM, and statistics in the same frame.
    """

    problem: Problem  # of the samples, in their frame, without a prior
    prior: Prior  # in the frame
    weight_prior: WeightPrior
    used: Array  # [K], which components there are

    @property
    def wishart(self) -> Wishart:
        """How precisions are distributed."""
        return wishart_of(self.problem.family, self.prior.mean.shape[0])

    @property
    def copies(self) -> Array:
        """How many precisions share one covariance, of a family that shares it."""
        return jnp.ones_like(self.prior.dof)

    def step(
        self, posterior: VariationalPosterior
    ) -> tuple[VariationalPosterior, Compensated[Array]]:
        """The next posterior, and the evidence bound of the one given, per unit of weight.

        Responsibilities in the bound are the best for that posterior, so that all that is left of
        it is the sum of log-densities less the divergence from the prior.
        """
        mixture, stats, evidence = self.expectation(posterior)
        following = self.maximisation(self.arranged(moments_of(mixture, stats)))
        return following, plus(evidence, -self.divergence(posterior) / self.problem.weight)

    def expectation(
        self, posterior: VariationalPosterior
    ) -> tuple[Mixture, SufficientStats, Compensated[Array]]:
        """The mean mixture, the statistics under the posterior, in its frame, and their sum."""
        mixture = posterior.mixture(self.used)
        logits = self.logits(posterior)
        return mixture, *expectation(mixture, self.problem.samples, logits)

    def logits(self, posterior: VariationalPosterior) -> Array:
        """Logarithms of what components count for beside the density of mean parameters [K]."""
        logs = posterior.weight_prior.log_means(posterior.concentrations, self.used)
        logs = logs + self.wishart.tilts(posterior.degrees_of_freedom)
        return logs - posterior.n_features / 2 / posterior.mean_precisions

    def maximisation(self, moments: Moments) -> VariationalPosterior:
        """The posterior under responsibilities that have these moments."""
        prior, family, copies = self.prior, self.problem.family, self.copies
        n, d = moments.counts, self.prior.mean.shape[0]
        strengths = prior.mean_strength / (n + prior.mean_strength)
        gaps = prior.mean - moments.means
        pulls = family.outer(gaps)
        spreads = moments.spreads + along(strengths, pulls) * pulls
        share = copies * family.entries(d)
        scatters = Scatters(
            spreads=spreads,
            n=n,
            counts=n,
            used=jnp.ones_like(self.used),
            wishart=(share * prior.scale, share * prior.dof),
        )
        covariances = family.maximise(scatters)
        # Padding is no worse conditioned than what there is.
        first = jnp.broadcast_to(covariances[:1], covariances.shape)
        return build(
            VariationalPosterior,
            concentrations=self.weight_prior.posterior(prior.concentration, n),
            means=moments.means + strengths[:, None] * gaps,
            mean_precisions=prior.mean_strength + n,
            degrees_of_freedom=prior.dof + family.masses(n) / copies,
            covariances=family.select(self.used, covariances, first),
            family=family,
            weight_prior=self.weight_prior,
        )

    def start(self, mixture: Mixture) -> VariationalPosterior:
        """The posterior if samples were as a mixture in the frame has them."""
        return self.maximisation(self.arranged(implied(mixture, self.problem.weight)))

    def arranged(self, moments: Moments) -> Moments:
        """With the components of most samples first, unless labels number them.

        Of a Dirichlet process that is the order of the highest bound (Kurihara, Welling and Teh
        2007).
        """
        if self.problem.samples.labels is not None:
            return moments
        order = jnp.argsort(-jnp.where(self.used, moments.counts, -1), stable=True)
        return jax.tree.map(lambda leaf: leaf[order], moments)

    @property
    def most_pairs(self) -> Array:
        """As many as components take part."""
        return jnp.sum(self.used, dtype=jnp.int32)

    def merged(
        self, posterior: VariationalPosterior, rank: Array
    ) -> tuple[VariationalPosterior, Array]:
        """The posterior with two components merged, the pair of that rank among those alike.

        Log-densities lose what their covariances differ by, and gain at most what it took to tell
        the two apart; a pair that loses more than that, and than what their parameters cost, is
        not worth a try.
        """
        family, (k, d) = posterior.family, posterior.means.shape
        wide = family.wide
        n = self.weight_prior.counts(posterior.concentrations, self.prior.concentration)
        n = jnp.where(self.used, jnp.maximum(n, 0), 0)
        spreads = family.widened(posterior.covariances, k, d)
        first, second = jnp.triu_indices(k, 1)
        total = n[first] + n[second]
        share = n[first] / jnp.where(total > 0, total, 1)
        gaps = wide.outer(posterior.means[first] - posterior.means[second])
        p = along(share, gaps)
        both = p * spreads[first] + (1 - p) * spreads[second] + p * (1 - p) * gaps
        _, own = wide.inverse_root(spreads, d)
        _, joint = wide.inverse_root(both, d)
        lost = total * joint - n[first] * own[first] - n[second] * own[second]
        told = -total * (xlogy(share, share) + xlogy(1 - share, 1 - share))
        saved = (wide.n_parameters(1, d) + d + 1) * jnp.log1p(total)
        alive = (n[first] >= 0.5) & (n[second] >= 0.5)
        score = jnp.where(alive, lost - told - saved, jnp.inf)
        if k < 2:
            return posterior, jnp.zeros((), bool)
        pair = jnp.argsort(score)[jnp.minimum(rank, len(score) - 1)]
        a, b = first[pair], second[pair]
        one = jnp.arange(k) == a
        moments = Moments(
            counts=jnp.where(jnp.arange(k) == b, 0, jnp.where(one, total[pair], n)),
            means=jnp.where(
                one[:, None],
                share[pair] * posterior.means[a] + (1 - share[pair]) * posterior.means[b],
                posterior.means,
            ),
            spreads=jnp.where(along(one, spreads), both[pair], spreads),
        )
        worth = (score[pair] < 0) & (rank < len(score))
        return self.maximisation(self.arranged(moments)), worth

    def divergence(self, posterior: VariationalPosterior) -> Array:
        """The Kullback-Leibler divergence from the prior [], in nats."""
        prior, family, d = self.prior, self.problem.family, posterior.n_features
        betas = posterior.mean_precisions
        inverse, half_log_dets = family.inverse_root(posterior.covariances, d)
        scale = family.wishart_scale(prior.scale)[None]
        _, prior_half = family.inverse_root(scale, d)
        precisions = self.wishart.divergences(
            posterior.degrees_of_freedom,
            prior.dof,
            2 * (prior_half - half_log_dets),
            family.wishart_traces(inverse, prior.scale),
        )
        away = jnp.sum(family.apply(inverse, posterior.means - prior.mean) ** 2, axis=1)
        ratio = prior.mean_strength / betas
        means = 0.5 * (d * (ratio - 1 - jnp.log(ratio)) + prior.mean_strength * away)
        idle = jnp.zeros_like(precisions)
        total = self.copies * jnp.sum(family.select(self.used, precisions, idle))
        weights = self.weight_prior.divergence(
            posterior.concentrations, prior.concentration, self.used
        )
        return total + jnp.sum(jnp.where(self.used, means, 0)) + weights


@struct
class Asked:
    """A prior in the units of the data, of which None is what suits the samples."""

    concentration: Array
    mean_strength: Array
    dof: Array
    mean: Array | None = None
    scale: Array | None = None


def prior_for(problem: Problem, asked: Asked) -> Prior:
    """The prior in the frame: of the mean and covariance of the samples, where they were not given.

    The covariance divides by the weight less 1, as of samples, and is no less than the floor.
    """
    frame, family = problem.frame, problem.family
    d = len(frame.center)
    scale, mean = asked.scale, asked.mean
    if scale is None:
        wide = family.wide
        one = build(
            Mixture,
            weights=jnp.ones_like(frame.center[:1]),
            means=jnp.zeros_like(frame.center)[None],
            covariances=wide.diagonal(jnp.ones_like(frame.center))[None],
            family=wide,
        )
        stats = statistics(one, problem.samples, lambda block, whitened: block.weights[None])
        weight = problem.weight
        spreads = stats.scatters / jnp.maximum(weight - 1, weight / 2)
        least = problem.floor.variances
        inside = wide.dense(Floor(variances=least).under(wide, spreads), 1, d)[0]
    else:
        inside = scale / frame.scale[:, None] / frame.scale[None, :]
    away = jnp.zeros_like(frame.center) if mean is None else (mean - frame.center) / frame.scale
    return Prior(
        concentration=asked.concentration,
        mean=away,
        mean_strength=asked.mean_strength,
        scale=inside,
        dof=asked.dof,
    )


def prior_outside(prior: Prior, problem: Problem) -> Prior:
    """The prior of the frame in the units of the data."""
    frame = problem.frame
    return dataclasses.replace(
        prior,
        mean=prior.mean * frame.scale + frame.center,
        scale=prior.scale * frame.scale[:, None] * frame.scale[None, :],
    )
