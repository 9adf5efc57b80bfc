"""Components that are not Gaussians: Student's t, of which nothing else in the package knows."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, W, X, plain, start
from jax.scipy.special import gammaln
from scipy import stats

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, Samples, make_samples
from jgmm.em.problem import pose
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.table import family_of
from jgmm.mixture.posterior import judgement


@dataclasses.dataclass(frozen=True)
class Student(Distribution):
    """The multivariate t of so many degrees of freedom (Peel and McLachlan 2000)."""

    dof: float
    reweights = True

    def log_constant(self, d: Any) -> Any:
        n = jnp.asarray(d, float)
        half = gammaln((self.dof + n) / 2) - gammaln(jnp.asarray(self.dof / 2, float))
        return half - n / 2 * jnp.log(jnp.pi * self.dof)

    def log_shape(self, energy: jax.Array, d: Any) -> jax.Array:
        return -(self.dof + d) / 2 * jnp.log1p(-2 * energy / self.dof)

    def moment_weights(self, r: jax.Array, energy: jax.Array, d: Any) -> jax.Array:
        return r * (self.dof + d) / (self.dof - 2 * energy)


STUDENT = Student(4.0)
# A few samples far out, which a Gaussian would follow.
HEAVY = X.copy()
HEAVY[::40] *= 8


def student(family: str, x: np.ndarray = HEAVY) -> jgmm.Mixture:
    return dataclasses.replace(start(family, x), distribution=STUDENT)


def log_joint(mixture: jgmm.Mixture, x: np.ndarray) -> np.ndarray:
    """As scipy has it, [N, K]."""
    return np.array(
        [
            np.log(weight) + stats.multivariate_t(mean, covariance, STUDENT.dof).logpdf(x)
            for weight, mean, covariance in zip(*plain(mixture), strict=True)
        ]
    ).T


def em_step(mixture: jgmm.Mixture, x: np.ndarray, w: np.ndarray, family: str) -> Any:
    """A step of EM for mixtures of t as a textbook writes it, and the log-likelihood before."""
    joint = log_joint(mixture, x)
    density = np.logaddexp.reduce(joint, axis=1)
    r = w[:, None] * np.exp(joint - density[:, None])
    gmm = plain(mixture)
    means, scatters = np.zeros_like(gmm.means), np.zeros_like(gmm.covariances)
    for k in range(K):
        gaps = x - gmm.means[k]
        distance = np.sum(gaps @ np.linalg.inv(gmm.covariances[k]) * gaps, axis=1)
        u = (STUDENT.dof + D) / (STUDENT.dof + distance)
        means[k] = (r[:, k] * u) @ x / (r[:, k] @ u)
        gaps = x - means[k]
        scatters[k] = (r[:, k] * u * gaps.T) @ gaps / r[:, k].sum()
    counts = r.sum(axis=0)
    covariances = reference.ESTIMATES[family](scatters, counts, np.zeros(D))
    return reference.Gmm(counts / counts.sum(), means, covariances), w @ density / w.sum()


def test_the_gaussian_is_where_the_degrees_of_freedom_end() -> None:
    """And it is what a mixture is of, if nobody says otherwise."""
    mixture = start("full", X)
    assert mixture.distribution is GAUSSIAN
    nearly = dataclasses.replace(mixture, distribution=Student(1e9))
    np.testing.assert_allclose(jgmm.log_prob(nearly, X), jgmm.log_prob(mixture, X), rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_are_those_of_scipy(family: str) -> None:
    mixture = student(family)
    joint = log_joint(mixture, HEAVY)
    density = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(jgmm.log_prob(mixture, HEAVY), density, rtol=1e-9)
    shares = jgmm.responsibilities(mixture, HEAVY)
    np.testing.assert_allclose(shares, np.exp(joint - density[:, None]), rtol=1e-9)
    np.testing.assert_allclose(jgmm.score(mixture, HEAVY, W), np.average(density, weights=W))


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_em_is_that_of_the_textbook_and_never_falls(family: str) -> None:
    begin = student(family)
    result = jgmm.fit(
        HEAVY, K, weights=W, init=begin, covariance_type=family,
        accelerate=False, max_iter=200, tol=1e-9, reg_covar=0.0,
    )  # fmt: skip
    assert result.mixture.distribution == STUDENT
    assert result.mixture.covariance_type == family
    history = np.asarray(result.history)[: int(result.n_iter) + 1]
    assert (np.diff(history) >= 0).all()
    best = np.logaddexp.reduce(log_joint(result.mixture, HEAVY), axis=1)
    np.testing.assert_allclose(result.log_likelihood, np.average(best, weights=W), rtol=1e-9)
    # The same way, from the same start.
    mixture, expected = begin, []
    for _ in range(5):
        following, before = em_step(mixture, HEAVY, W, family)
        expected.append(before)
        mixture = dataclasses.replace(
            student("full"), weights=following.weights, means=following.means,
            covariances=following.covariances,
        )  # fmt: skip
    np.testing.assert_allclose(history[:5], expected, rtol=1e-9)
    # Samples far out pull less than they would pull a Gaussian.
    gaussian = jgmm.fit(HEAVY, K, weights=W, init=start(family, HEAVY), covariance_type=family)
    assert result.log_likelihood > gaussian.log_likelihood


def test_squarem_comes_to_the_same_fixed_point() -> None:
    options: dict[str, Any] = {"weights": W, "init": student("full"), "tol": 1e-12}
    plainly = jgmm.fit(HEAVY, K, accelerate=False, **options)
    quickly = jgmm.fit(HEAVY, K, **options)
    assert (np.diff(quickly.history[: int(quickly.n_iter) + 1]) >= 0).all()
    np.testing.assert_allclose(quickly.log_likelihood, plainly.log_likelihood, rtol=1e-6)


GAPS = np.where(np.random.default_rng(4).random(X.shape) < 0.25, np.nan, HEAVY)
slope = program()(jax.value_and_grad(lambda mixture, problem: problem.objective(mixture)))


@program()
@jax.value_and_grad
def through(mixture: jgmm.Mixture, samples: Samples) -> jax.Array:
    """The log-likelihood, with its derivative through the pass over the data."""
    total, weight, _ = judgement(mixture, samples)
    return total / weight


@pytest.mark.parametrize("x", [HEAVY, GAPS], ids=["complete", "gaps"])
@pytest.mark.parametrize("family", ["full", "diag"])
def test_fishers_identity_holds(family: str, x: np.ndarray) -> None:
    """The gradient of the objective, from the statistics of one E-step, is the objective's.

    With features missing the expected squares of a t count by other weights than the variances
    of what is missing, which is normal given how much the sample counts.
    """
    rows = Rows(features=jnp.asarray(x), weights=jnp.asarray(W))
    samples = make_samples(rows, 128, incomplete=bool(np.isnan(x).any()))
    problem = pose(samples, family_of(family), jnp.zeros(D))
    inside = jax.tree.map(jnp.asarray, problem.standardize(student(family)))
    value, found = slope(inside, problem)
    expected, direct = through(inside, problem.samples)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_distribution_is_no_value() -> None:
    mixture = student("full")
    assert len(jax.tree.leaves(mixture)) == 3
    assert jax.tree.structure(mixture) != jax.tree.structure(start("full", HEAVY))
    assert jax.tree.structure(mixture) == jax.tree.structure(
        dataclasses.replace(mixture, distribution=Student(4.0))
    )
