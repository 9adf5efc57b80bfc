"""The problem that a fit solves: the EM map, the objective and its gradient, and the way back."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, N, W, X, assert_mixtures_close, plain, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, Samples, make_samples
from jgmm.em.prior import log_density
from jgmm.em.problem import Problem, pose
from jgmm.families.floor import Floor
from jgmm.families.table import family_of
from jgmm.mixture.posterior import judgement
from jgmm.solvers.squarem import chart_of, mixture_at

SCALES = np.array([1e-3, 1.0, 200.0])
FAR = X * SCALES + 50 * SCALES
GAPS = np.where(np.random.default_rng(4).random(X.shape) < 0.25, np.nan, FAR)
LABELS = np.where(np.arange(N) % 5 == 0, np.arange(N) % K, -1)
PRIOR = jgmm.Prior(
    concentration=np.array(1.7),
    mean=FAR.mean(0) + 0.3 * SCALES,
    mean_strength=np.array(2.0),
    scale=np.cov(FAR.T) + 0.1 * np.diag(SCALES**2),
    dof=np.array(6.0),
)
by_prior = pytest.mark.parametrize("prior", [None, PRIOR], ids=["likelihood", "posterior"])


def samples_of(x: np.ndarray, labels: np.ndarray | None = None) -> Samples:
    known = None if labels is None else jnp.asarray(labels, jnp.int32)
    rows = Rows(features=jnp.asarray(x), weights=jnp.asarray(W), labels=known)
    return make_samples(rows, 128, incomplete=bool(np.isnan(x).any()))


# All go over the data a few times.
@program("family", once=True)
def posed(samples: Samples, family: str, prior: Any, floor: Any) -> Problem:
    return pose(samples, family_of(family), floor, prior)


def problem_of(
    family: str, prior: Any = None, x: np.ndarray = FAR, floor: float = 0.0, labels: Any = None
) -> Problem:
    return posed(samples_of(x, labels), family, prior, jnp.full(D, floor))


step = program(once=True)(lambda problem, mixture: problem.step(mixture))
evaluate = program(once=True)(lambda problem, mixture: problem.evaluate(mixture).rounded())
slope = program(once=True)(jax.value_and_grad(lambda mixture, problem: problem.objective(mixture)))
standardized = program(once=True)(lambda problem, mixture: problem.standardize(mixture))
back = program(once=True)(lambda problem, mixture: problem.unstandardize(mixture))


@program(once=True)
def in_data_units(problem: Problem, inside: jgmm.Mixture, value: Any) -> Any:
    """Log-likelihood and objective, and all at once, as of a history."""
    history = jnp.array([value, value + 1, jnp.nan])
    return problem.log_likelihood(inside, value), problem.in_data_units(inside, history)


@program(once=True)
@jax.value_and_grad
def through(mixture: jgmm.Mixture, problem: Problem) -> jax.Array:
    """The log-posterior, with its derivative through the pass over the data."""
    total, weight, _ = judgement(mixture, problem.samples)
    return (total + log_density(problem.prior, mixture)) / weight


def begin(family: str) -> jgmm.Mixture:
    """A rough mixture of the data, in their units."""
    return jax.tree.map(jnp.asarray, start(family, FAR))


def log_posterior(gmm: reference.Gmm, family: str, prior: Any, x: np.ndarray = FAR) -> float:
    """Log-likelihood and log-prior per unit of weight, in the units of the data."""
    value = reference.score(gmm, x, W)
    return value if prior is None else value + reference.log_prior(gmm, prior, family) / W.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_posed_in_a_frame_of_order_one(family: str) -> None:
    problem = problem_of(family, PRIOR, floor=0.1)
    mean, variance = reference.mean_and_variance(FAR, W)
    if family == "spherical":
        variance = np.full(D, variance.mean())
    np.testing.assert_allclose(problem.weight, W.sum(), rtol=1e-12)
    np.testing.assert_allclose(problem.frame.center, mean, rtol=1e-12)
    np.testing.assert_allclose(problem.frame.scale**2, variance, rtol=1e-9)
    inside = np.asarray(problem.samples.features).swapaxes(1, 2).reshape(-1, D)[:N]
    np.testing.assert_allclose(inside, (FAR - mean) / np.sqrt(variance), atol=1e-9)
    assert problem.family is family_of(family)
    assert isinstance(problem.floor, Floor)
    # The floor is relative to the data, the prior was in their units.
    np.testing.assert_array_equal(problem.floor.variances, 0.1)
    size = np.sqrt(variance)
    assert problem.prior is not None
    np.testing.assert_allclose(problem.prior.mean, (PRIOR.mean - mean) / size, rtol=1e-9)
    np.testing.assert_allclose(problem.prior.scale, PRIOR.scale / np.outer(size, size), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back(family: str) -> None:
    problem, mixture = problem_of(family), begin(family)
    inside = standardized(problem, mixture)
    for a, b in zip(*map(jax.tree.leaves, (back(problem, inside), mixture)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    # A start is never below the floor.
    high = problem_of(family, floor=0.9)
    raised = standardized(high, mixture)
    assert np.linalg.eigvalsh(plain(raised).covariances).min() > 0.9 - 1e-9
    # Nor, with a prior and no floor, collapsed.
    bayesian = problem_of(family, PRIOR)
    assert bayesian.prior is not None
    flat = dataclasses.replace(mixture, covariances=0 * mixture.covariances)
    least = plain(standardized(bayesian, flat)).covariances
    diagonal = np.diagonal(least, axis1=1, axis2=2)
    share = 1e-3 * np.diag(bayesian.prior.scale)
    expected = np.full(D, share.mean()) if family == "spherical" else share
    np.testing.assert_allclose(diagonal, np.broadcast_to(expected, (K, D)), rtol=1e-9)


@by_prior
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_the_reference_in_the_units_of_the_data(family: str, prior: Any) -> None:
    problem, mixture = problem_of(family, prior), begin(family)
    inside = standardized(problem, mixture)
    following, value = step(problem, inside)
    exact = plain(mixture)
    r = reference.responsibilities(exact, FAR) * W[:, None]
    expected = (
        reference.m_step(FAR, r, family, np.zeros(D))
        if prior is None
        else reference.map_m_step(FAR, r, family, prior)
    )
    moved = plain(back(problem, following))
    unit = reference.Gmm(moved.weights, moved.means / SCALES, moved.covariances)
    unit = unit._replace(covariances=moved.covariances / np.outer(SCALES, SCALES))
    expected = reference.Gmm(
        expected.weights, expected.means / SCALES, expected.covariances / np.outer(SCALES, SCALES)
    )
    assert_mixtures_close(unit, expected, 1e-9)
    # The objective is of the mixture given, and climbs.
    np.testing.assert_allclose(evaluate(problem, inside), value.rounded(), rtol=1e-12)
    assert evaluate(problem, following) > value.rounded()


@by_prior
@pytest.mark.parametrize("family", FAMILIES)
def test_objectives_and_likelihoods_in_the_units_of_the_data(family: str, prior: Any) -> None:
    problem, mixture = problem_of(family, prior), begin(family)
    inside = standardized(problem, mixture)
    log_likelihood, history = in_data_units(problem, inside, evaluate(problem, inside))
    exact = plain(mixture)
    np.testing.assert_allclose(log_likelihood, reference.score(exact, FAR, W), rtol=1e-9)
    np.testing.assert_allclose(history[0], log_posterior(exact, family, prior), rtol=1e-9)
    np.testing.assert_allclose(history[1] - history[0], 1, rtol=1e-9)
    assert np.isnan(history[2])  # what is not there stays so


@pytest.mark.parametrize("family", FAMILIES)
def test_with_gaps_only_what_was_observed_has_a_volume(family: str) -> None:
    problem, mixture = problem_of(family, x=GAPS), begin(family)
    inside = standardized(problem, mixture)
    log_likelihood, history = in_data_units(problem, inside, evaluate(problem, inside))
    _, expected = reference.em_step_with_gaps(plain(mixture), GAPS, W, family)
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-9)
    np.testing.assert_allclose(history[0], expected, rtol=1e-9)


def test_the_entropy_is_of_a_mixture_of_the_data() -> None:
    problem, mixture = problem_of("full"), begin("full")
    r = reference.responsibilities(plain(mixture), FAR)
    np.testing.assert_allclose(problem.entropy(mixture), -(W @ (r * np.log(r))).sum(), rtol=1e-9)


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "gaps and labels"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_one_e_step_is_that_of_the_objective(family: str, partial: bool) -> None:
    """Fisher's identity, against the derivative through the pass over the data."""
    x, labels = (GAPS, LABELS) if partial else (FAR, None)
    problem = problem_of(family, PRIOR, x, labels=labels)
    inside = standardized(problem, begin(family))
    value, found = slope(inside, problem)
    expected, direct = through(inside, problem)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_the_finite_difference(family: str) -> None:
    """Along random directions in a chart, where every point is a mixture. No prior is a branch."""

    @program(once=True)
    def along(problem: Problem, inside: jgmm.Mixture, h: Any) -> Any:
        at = chart_of(inside)
        rng = np.random.default_rng(0)
        change = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), at)
        if not inside.family.independent:
            change = (*change[:2], jnp.tril(change[2]))

        def mixture(h: Any) -> jgmm.Mixture:
            return mixture_at(jax.tree.map(lambda a, c: a + h * c, at, change), inside)

        def value(h: Any) -> jax.Array:
            return problem.evaluate(mixture(h)).rounded()

        _, tangent = jax.jvp(mixture, (0.0,), (1.0,))
        products = jax.tree.map(jnp.vdot, jax.grad(problem.objective)(inside), tangent)
        return sum(jax.tree.leaves(products)), (value(h) - value(-h)) / (2 * h)

    problem = problem_of(family)
    actual, expected = along(problem, standardized(problem, begin(family)), 1e-5)
    np.testing.assert_allclose(actual, expected, rtol=1e-7)


def test_other_samples_in_the_same_frame() -> None:
    problem, mixture = problem_of("full"), begin("full")
    inside = problem.standardize(mixture)
    half = dataclasses.replace(
        problem.samples,
        features=problem.samples.features[:1],
        weights=problem.samples.weights[:1],
    )
    part = problem.on(half)
    assert part.frame is problem.frame
    assert part.weight is problem.weight
    expected = reference.score(plain(mixture), FAR[:128], W[:128])
    value = evaluate(part, inside)
    np.testing.assert_allclose(part.log_likelihood(inside, value), expected, rtol=1e-9)
