"""Variational Bayes against formulas written out, and its laws."""

from __future__ import annotations

from functools import partial
from typing import Any

import bishop
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from examples import FAMILIES, K, cast, overlapping, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import pose
from jgmm.families.table import family_of
from jgmm.variational.problem import Asked, VariationalProblem, prior_for
from jgmm.variational.weights import WEIGHT_PRIORS

X = overlapping()
KINDS = tuple(WEIGHT_PRIORS)
SOME = [(family, KINDS[i % 2]) for i, family in enumerate(FAMILIES)]
# What tests of every family ask for, so that a program serves them all.
W = np.random.default_rng(3).uniform(0.5, 2, size=len(X))
ASKED: dict[str, Any] = {
    "weights": W,
    "weight_concentration_prior": 0.7,
    "mean_precision_prior": 0.3,
    "degrees_of_freedom_prior": 4.5,
    "mean_prior": [0.1, -0.2, 0.3],
    "covariance_prior": [1.0, 2.0, 0.5],
}


def fitted(x: Any = X, k: int = K, **options: Any) -> jgmm.VariationalResult:
    return jgmm.fit_variational(x, k, **options)


def as_bishop(result: jgmm.VariationalResult) -> tuple[bishop.Posterior, bishop.Prior]:
    """The same as the reference has them."""
    posterior, prior = cast(result.posterior, np.float64), cast(result.prior, np.float64)
    k, d = posterior.means.shape
    nus = np.broadcast_to(posterior.degrees_of_freedom, (k,))
    dense = posterior.family.dense(posterior.covariances, k, d)
    theirs = bishop.Posterior(
        posterior.concentrations,
        posterior.means,
        posterior.mean_precisions,
        nus,
        nus[:, None, None] * dense,
    )
    return theirs, bishop.Prior(
        float(prior.concentration), prior.mean, float(prior.mean_strength), float(prior.dof),
        prior.scale,
    )  # fmt: skip


def assert_posteriors_equal(ours: Any, theirs: bishop.Posterior, tolerance: float) -> None:
    for name in ("concentrations", "means", "betas", "nus", "scales"):
        got, expected = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("family", "kind"), SOME)
def test_a_step_and_the_bound_are_those_of_the_book(family: str, kind: str) -> None:
    w = W
    options = {**ASKED, "covariance_type": family, "weight_concentration_prior_type": kind}
    with pytest.warns(jgmm.FitWarning, match="MAX_ITER"):
        after = fitted(init=start(family, X), max_iter=2, **options)
    before = fitted(init=start(family, X), max_iter=0, **options)
    theirs, prior = as_bishop(before)
    following, bound = bishop.step(X, w, theirs, prior, family, kind)
    final, higher = bishop.step(X, w, following, prior, family, kind)
    _, highest = bishop.step(X, w, final, prior, family, kind)
    np.testing.assert_allclose(after.history * w.sum(), [bound, higher, highest], rtol=1e-9)
    np.testing.assert_allclose(before.lower_bound * w.sum(), bound, rtol=1e-9)
    assert_posteriors_equal(as_bishop(after)[0], final, 1e-9)
    np.testing.assert_allclose(after.counts.sum(), w.sum(), rtol=1e-12)


def problem_of(family: str, kind: str, x: np.ndarray, labels: Any = None) -> VariationalProblem:
    rows = Rows(features=jnp.asarray(x), weights=jnp.ones(len(x)), labels=labels)
    samples = make_samples(rows, 64, incomplete=bool(np.isnan(x).any()))
    problem = pose(samples, family_of(family), jnp.full(x.shape[1], 1e-6))
    one = jnp.asarray(1.0)
    asked = Asked(concentration=one / 4, mean_strength=one, dof=3 * one)
    return VariationalProblem(
        problem=problem,
        prior=prior_for(problem, asked),
        weight_prior=WEIGHT_PRIORS[kind],
        used=jnp.ones(6, bool),
    )


@pytest.mark.parametrize(("family", "kind"), [SOME[0], SOME[3]])
def test_the_bound_never_falls(family: str, kind: str) -> None:
    """With features missing and labels known; of complete samples it is that of the book."""
    x = X.copy()
    x[np.random.default_rng(0).uniform(size=x.shape) < 0.2] = np.nan
    labels = np.where(np.arange(len(x)) % 9 == 0, np.arange(len(x)) % 3, -1).astype(np.int32)
    rough = start(family, X, 6)

    @program()
    def climb(mixture: jgmm.Mixture) -> Any:
        bayes = problem_of(family, kind, x, jnp.asarray(labels))
        first = bayes.start(bayes.problem.standardize(mixture))

        def turn(posterior: Any, _: Any) -> Any:
            following, value = bayes.step(posterior)
            return following, value.rounded()

        return jax.lax.scan(turn, first, length=150)[1]

    bounds = np.asarray(climb(rough))
    assert np.isfinite(bounds).all()
    assert (np.diff(bounds) > -1e-13).all()
    assert bounds[-1] > bounds[0] + 0.01


def test_surplus_components_are_switched_off() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 1, size=(200, 2)) for c in (0, 12, 24)])
    for kind in KINDS:
        result = fitted(x, 8, weight_concentration_prior_type=kind)
        assert result.n_in_use == 3
        assert np.array_equal(result.in_use, np.arange(8) < 3)
        np.testing.assert_allclose(result.counts[:3], 200, atol=0.01)
        assert result.counts[3:].sum() < 0.01
        assert np.count_nonzero(result.mixture.weights) == 3
        assert np.bincount(jgmm.predict(result, x)).tolist() == [200, 200, 200]
        assert "8 full components (5 of weight 0)" in repr(result)
        assert len(result.learning_curve) == int(result.n_iter) + 1
    assert fitted(x, 3).lower_bound > fitted(x, 1).lower_bound
    # Components that share a Gaussian are an optimum of the plain climb, which merging leaves.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 1, size=(2000, 2)) for c in (0, 4, 9)])
    twice = np.repeat(np.arange(3), 2000) + 3 * (x[:, 0] % 1 > 0.5)
    options = {"init": twice, "tol": 1e-5}
    plain, merged = fitted(x, 8, search="none", **options), fitted(x, 8, **options)
    assert plain.n_in_use > 3
    assert merged.n_in_use == 3
    assert merged.lower_bound > plain.lower_bound + 1e-3
    assert (np.diff(merged.learning_curve) >= 0).all()


def test_weights_are_repetitions_and_float32_is_as_good() -> None:
    x = X[:150]
    weights = np.random.default_rng(0).integers(0, 4, size=len(x))
    options = {"init": start("full", X), "max_iter": 300, "tol": 0}
    weighted = fitted(x, weights=weights, **options)
    repeated = fitted(x.repeat(weights, axis=0), **options)
    np.testing.assert_allclose(weighted.lower_bound, repeated.lower_bound, rtol=1e-10)
    np.testing.assert_allclose(weighted.posterior.means, repeated.posterior.means, atol=1e-8)
    far = fitted((X + 1000).astype(np.float32), **options)
    exact = fitted((X + 1000).astype(np.float32).astype(float), **options)
    assert far.posterior.means.dtype == np.float32
    np.testing.assert_allclose(far.lower_bound, exact.lower_bound, atol=2e-6)


def test_a_lane_is_a_fit_and_priors_may_be_traced() -> None:
    first = start("full", X)
    run = partial(fitted, init=first, max_iter=300)
    priors = np.array([1e-3, 10.0])

    def of(concentration: Any) -> Any:
        return run(weight_concentration_prior=concentration)

    lanes = jax.device_get(program()(jax.vmap(of))(priors))
    for i, concentration in enumerate(priors):
        alone = of(concentration)
        np.testing.assert_allclose(lanes.lower_bound[i], alone.lower_bound, rtol=1e-12)
        np.testing.assert_allclose(lanes.posterior.means[i], alone.posterior.means, atol=1e-9)
        assert lanes.n_iter[i] == alone.n_iter
        np.testing.assert_allclose(lanes.mixture.weights[i], alone.mixture.weights, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_weights_of_lanes_are_those_of_each(kind: str) -> None:
    prior = WEIGHT_PRIORS[kind]
    counts = jnp.asarray([[5.0, 3.0, 1.0], [2.0, 2.0, 2.0]])
    used = jnp.ones(3, bool)
    lanes = jax.vmap(lambda n: prior.posterior(jnp.asarray(0.5), n))(counts)
    found = prior.means(lanes, used)
    for i in range(2):
        np.testing.assert_allclose(found[i], prior.means(lanes[i], used), rtol=1e-12)


@pytest.mark.parametrize(("family", "kind"), SOME)
def test_the_predictive_density_is_of_students_t(family: str, kind: str) -> None:
    options = {**ASKED, "covariance_type": family, "weight_concentration_prior_type": kind}
    result = fitted(init=start(family, X), max_iter=300, **options)
    posterior, _ = as_bishop(result)
    d = X.shape[1]
    weights = result.posterior.mixture(jnp.ones(K, bool)).weights
    density = np.zeros(len(X))
    for k in range(K):
        nu, beta, scale = posterior.nus[k], posterior.betas[k], posterior.scales[k]
        if family in ("full", "tied"):
            dof = nu + 1 - d
            shape = scale * (1 + beta) / (beta * dof)
            p = scipy.stats.multivariate_t(posterior.means[k], shape, df=dof).pdf(X)
        elif family == "spherical":
            shape = scale * (1 + beta) / (beta * nu)
            p = scipy.stats.multivariate_t(posterior.means[k], shape, df=d * nu).pdf(X)
        else:
            widths = np.sqrt(np.diag(scale) * (1 + beta) / (beta * nu))
            p = scipy.stats.t(nu, posterior.means[k], widths).pdf(X).prod(axis=1)
        density += weights[k] * p
    np.testing.assert_allclose(jgmm.predictive_log_prob(result, X), np.log(density), rtol=1e-9)


def test_awkward_data_get_an_answer() -> None:
    for x, weights in (
        (np.ones((5, 2)), None),  # constant
        (np.array([[1.0, 2.0]]), None),  # one sample
        (np.repeat([[0.0, 0.0], [1.0, 1.0]], 3, axis=0), None),  # two colours
        (np.array([[1e8, 0.0], [1e8, 1.0]]), np.array([1.0, 0.0])),
    ):
        result = fitted(x.astype(np.float32), 4, weights=weights)
        assert np.isfinite(result.lower_bound)
        assert np.isfinite(result.mixture.covariances).all()
        np.testing.assert_allclose(result.mixture.weights.sum(), 1, rtol=1e-6)
    with pytest.warns(jgmm.FitWarning, match="NONFINITE"):
        fitted(np.ones((5, 2), np.float32), 4, weights=np.zeros(5))


def test_what_makes_no_prior_is_refused() -> None:
    for name, wrong, what in (
        ("weight_concentration_prior", 0.0, "above 0"),
        ("mean_precision_prior", [1.0], "a number"),
        ("degrees_of_freedom_prior", 2.0, "above 2"),
        ("mean_prior", [1.0], "shape"),
        ("covariance_prior", -np.eye(3), "positive definite"),
        ("weight_concentration_prior_type", "beta", "dirichlet_process"),
        ("covariance_type", "VEV", "spherical"),
    ):
        with pytest.raises(ValueError, match=f"{name}: .*{what}"):
            fitted(**{name: wrong})
    other = fitted(init=start("full", X), max_iter=300)
    again = fitted(init=other, max_iter=300)  # goes on where that ended
    assert again.n_iter <= 30
    np.testing.assert_allclose(again.lower_bound, other.lower_bound, atol=1e-6)
    with pytest.raises(ValueError, match="init: .*dirichlet_process"):
        fitted(init=other, weight_concentration_prior_type=KINDS[1])
    with pytest.raises(TypeError, match="expected a VariationalResult"):
        jgmm.predictive_log_prob(other.mixture, X)  # type: ignore[arg-type]
