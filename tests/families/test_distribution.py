"""Components that are not Gaussians: Student's t against scipy and a textbook's EM."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, W, X, plain, start
from scipy import optimize, special, stats

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import pose
from jgmm.families import gamma
from jgmm.families.distribution import GAUSSIAN
from jgmm.families.student import StudentT
from jgmm.families.table import family_of
from jgmm.mixture.posterior import judgement

DOF = np.array([3.0, 5.0, 9.0])
MODES = {"free": StudentT(), "shared": StudentT("shared"), "fixed": StudentT("fixed")}
# A few samples far out, which a Gaussian would follow.
HEAVY = X.copy()
HEAVY[::40] *= 8


def student(family: str, mode: str = "free", x: np.ndarray = HEAVY) -> jgmm.Mixture:
    dof = DOF if mode == "free" else np.full(K, 4.0)
    return dataclasses.replace(
        start(family, x), distribution=MODES[mode], degrees_of_freedom=dof
    )  # fmt: skip


def log_joint(mixture: jgmm.Mixture, x: np.ndarray) -> np.ndarray:
    """As scipy has it, [N, K]."""
    return np.array(
        [
            np.log(weight) + stats.multivariate_t(mean, covariance, dof).logpdf(x)
            for weight, mean, covariance, dof in zip(
                *plain(mixture), np.asarray(mixture.degrees_of_freedom), strict=True
            )
        ]
    ).T


def likeliest_dof(gap: float) -> float:
    """The ν of log ν/2 - ψ(ν/2) = gap, between 1 and 1000."""

    def slope(nu: float) -> float:
        return float(np.log(nu / 2) - special.digamma(nu / 2) - gap)

    if slope(1.0) <= 0 or slope(1000.0) >= 0:
        return 1.0 if slope(1.0) <= 0 else 1000.0
    return float(optimize.brentq(slope, 1.0, 1000.0, xtol=1e-13, rtol=1e-14))


def em_step(
    mixture: jgmm.Mixture, x: np.ndarray, w: np.ndarray, family: str, mode: str
) -> tuple[jgmm.Mixture, float]:
    """A step of EM for mixtures of t as a textbook writes it, and the log-likelihood before."""
    joint = log_joint(mixture, x)
    density = np.logaddexp.reduce(joint, axis=1)
    r = w[:, None] * np.exp(joint - density[:, None])
    gmm, nu = plain(mixture), np.asarray(mixture.degrees_of_freedom)
    means, scatters = np.zeros_like(gmm.means), np.zeros_like(gmm.covariances)
    gaps = np.zeros(K)
    for k in range(K):
        away = x - gmm.means[k]
        distance = np.sum(away @ np.linalg.inv(gmm.covariances[k]) * away, axis=1)
        u = (nu[k] + D) / (nu[k] + distance)
        half = (nu[k] + D) / 2
        logs = np.log(u) + special.digamma(half) - np.log(half)  # the expected log u
        gaps[k] = r[:, k] @ (u - logs - 1)
        means[k] = (r[:, k] * u) @ x / (r[:, k] @ u)
        away = x - means[k]
        scatters[k] = (r[:, k] * u * away.T) @ away / r[:, k].sum()
    counts = r.sum(axis=0)
    if mode == "free":
        nu = np.array([likeliest_dof(gap / n) for gap, n in zip(gaps, counts, strict=True)])
    elif mode == "shared":
        nu = np.full(K, likeliest_dof(gaps.sum() / counts.sum()))
    following = jgmm.Mixture(
        weights=counts / counts.sum(),
        means=means,
        covariances=reference.ESTIMATES[family](scatters, counts, np.zeros(D)),
        family="full",
        degrees_of_freedom=nu,
    )
    return following, float(w @ density / w.sum())


def test_differences_of_gammas_are_those_of_scipy() -> None:
    x = np.array([0.3, 0.5, 1.0, 4.0, 33.0, 500.0])
    steps, gaps = (0.5, 1.5, 40.0), np.log(x) - special.digamma(x)

    @program()
    def ours(x: jax.Array, gaps: jax.Array) -> Any:
        rises = [gamma.log_gamma_rise(x, a) for a in steps]
        inverse = gamma.inverse_of_log_less_digamma
        slopes = jax.vmap(jax.grad(inverse))(gaps)
        return rises, gamma.log_less_digamma(x), inverse(gaps), slopes

    rises, differences, inverses, slopes = jax.device_get(ours(x, gaps))
    for a, rise in zip(steps, rises, strict=True):
        expected = special.gammaln(x + a) - special.gammaln(x) - a * np.log(x)
        np.testing.assert_allclose(rise, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(differences, gaps, rtol=1e-10)
    np.testing.assert_allclose(inverses, x, rtol=1e-9)
    np.testing.assert_allclose(1 / slopes, 1 / x - special.polygamma(1, x), rtol=1e-9)
    # In float32 nothing is lost where large logarithms differ by little.
    many = np.float32(1000.0)
    found = gamma.log_gamma_rise(many, np.float32(1.5)), gamma.log_less_digamma(many)
    np.testing.assert_allclose(found, [0.000374906, 0.00050008333], rtol=2e-3)


def test_the_gaussian_is_where_the_degrees_of_freedom_end() -> None:
    """And it is what a mixture is of, if nobody says otherwise."""
    mixture = start("full", X)
    assert mixture.distribution is GAUSSIAN
    nearly = dataclasses.replace(mixture, degrees_of_freedom=1e9)
    assert nearly.distribution == StudentT()
    np.testing.assert_allclose(jgmm.log_prob(nearly, X), jgmm.log_prob(mixture, X), rtol=1e-6)
    options: dict[str, Any] = {"max_iter": 15, "tol": 0.0, "accelerate": False}
    normal = jgmm.fit(X, K, init=mixture, **options)
    heavy = jgmm.fit(
        X, K, init=mixture, distribution="student_t", degrees_of_freedom=1e9, **options
    )
    np.testing.assert_allclose(heavy.history[:15], normal.history[:15], rtol=1e-7)
    np.testing.assert_allclose(heavy.mixture.means, normal.mixture.means, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_are_those_of_scipy(family: str) -> None:
    mixture = student(family)
    joint = log_joint(mixture, HEAVY)
    density = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(jgmm.log_prob(mixture, HEAVY), density, rtol=1e-9)
    shares = jgmm.responsibilities(mixture, HEAVY)
    np.testing.assert_allclose(shares, np.exp(joint - density[:, None]), rtol=1e-9)
    np.testing.assert_allclose(jgmm.score(mixture, HEAVY, W), np.average(density, weights=W))
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), mixture)
    found = jgmm.log_prob(single, HEAVY.astype(np.float32))
    np.testing.assert_allclose(found, density, rtol=2e-5)


CASES = [
    *((family, "free") for family in FAMILIES),
    ("full", "shared"),
    ("full", "fixed"),
    ("tied", "shared"),
]


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_em_is_that_of_the_textbook_and_never_falls(family: str, mode: str) -> None:
    begin = student(family, mode)
    options: dict[str, Any] = {
        "weights": W, "init": begin, "covariance_type": family, "distribution": "student_t",
        "degrees_of_freedom": 4.0 if mode == "fixed" else mode, "accelerate": False, "tol": 0.0,
        "reg_covar": 0.0,
    }  # fmt: skip
    result = jgmm.fit(HEAVY, K, max_iter=200, **options)
    assert result.mixture.distribution == MODES[mode]
    assert result.mixture.covariance_type == family
    assert (np.diff(result.learning_curve) >= 0).all()
    best = np.logaddexp.reduce(log_joint(result.mixture, HEAVY), axis=1)
    np.testing.assert_allclose(result.log_likelihood, np.average(best, weights=W), rtol=1e-9)
    # The same way, from the same start.
    mixture, expected = begin, []
    for _ in range(5):
        mixture, before = em_step(mixture, HEAVY, W, family, mode)
        expected.append(before)
    np.testing.assert_allclose(result.history[:5], expected, rtol=1e-9)
    few = jgmm.fit(HEAVY, K, max_iter=5, **options).mixture
    for found, right in zip(plain(few), plain(mixture), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(few.degrees_of_freedom, mixture.degrees_of_freedom, rtol=1e-9)
    # Samples far out pull less than they would pull a Gaussian.
    if family == "full":
        gaussian = jgmm.fit(HEAVY, K, weights=W, init=start(family, HEAVY), accelerate=False)
        assert result.log_likelihood > gaussian.log_likelihood


GAPS = np.where(np.random.default_rng(4).random(X.shape) < 0.25, np.nan, HEAVY)


@pytest.mark.parametrize("family", ["full", "diag"])
def test_fishers_identity_holds(family: str) -> None:
    """The gradient of the objective, from the statistics of one E-step, is the objective's.

    With features missing the expected squares of a t count by other weights than the variances
    of what is missing, which is normal given how much the sample counts. Of complete samples the
    statistics are those of the textbook, above.
    """

    @program()
    def run(mixture: jgmm.Mixture) -> Any:
        rows = Rows(features=jnp.asarray(GAPS), weights=jnp.asarray(W))
        problem = pose(make_samples(rows, 128, incomplete=True), family_of(family), jnp.zeros(D))

        def through(mixture: jgmm.Mixture) -> jax.Array:
            """The log-likelihood, with its derivative through the pass over the data."""
            total, weight, _ = judgement(mixture, problem.samples)
            return total / weight

        inside = problem.standardize(mixture)
        return [jax.value_and_grad(law)(inside) for law in (problem.objective, through)]

    (value, found), (expected, direct) = run(student(family))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert len(jax.tree.leaves(found)) == 4
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_distribution_is_structure_and_degrees_of_freedom_are_values() -> None:
    gaussian, mixture = start("full", HEAVY), student("full")
    assert len(jax.tree.leaves(gaussian)) == 3
    assert len(jax.tree.leaves(mixture)) == 4
    assert jax.tree.structure(mixture) != jax.tree.structure(gaussian)
    assert jax.tree.structure(mixture) == jax.tree.structure(student("full"))
    assert jax.tree.structure(mixture) != jax.tree.structure(student("full", "shared"))
    free = K + K * D + K * D * (D + 1) // 2 - 1
    for mode, more in (("free", K), ("shared", 1), ("fixed", 0)):
        counted = jgmm.bic(student("full", mode), HEAVY)
        expected = -2 * len(X) * jgmm.score(student("full", mode), HEAVY)
        np.testing.assert_allclose(counted - expected, (free + more) * np.log(len(X)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degrees_of_freedom": [1.0, 2.0]}, r"expected degrees_of_freedom \(3,\), got \(2,\)"),
        ({"degrees_of_freedom": [1.0, 0.0, 2.0]}, "expected degrees_of_freedom above 0, got 0"),
        ({"degrees_of_freedom": [1.0, np.nan, 2.0]}, "expected finite degrees_of_freedom"),
        ({"distribution": "student_t"}, "expected degrees_of_freedom of student_t, got none"),
        ({"distribution": "cauchy"}, "distribution: expected one of"),
    ],
)
def test_what_is_no_mixture_of_t_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(start("full", X), **change)
