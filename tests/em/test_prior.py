from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import D, K, N, assert_mixtures_close, overlapping, plain, start

import jgmm
from jgmm import Prior, Status
from jgmm.data.programs import program
from jgmm.em.prior import log_density
from jgmm.solvers.squarem import chart_of, mixture_at

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
STEPS = 10
PRIOR = Prior(
    concentration=np.array(1.7),
    mean=X.mean(0) + 0.3,
    mean_strength=np.array(2.0),
    scale=np.cov(X.T) + 0.1 * np.eye(D),
    dof=np.array(6.0),
)


def steps(family: str, **options: Any) -> jgmm.FitResult:
    given = {"max_iter": STEPS, "tol": 0.0, "reg_covar": 0.0, "accelerate": False} | options
    mixture = start(family, X)
    return jgmm.fit(X, K, init=mixture, covariance_type=family, prior=PRIOR, weights=W, **given)


# What a step under a prior is, test_maximisation and test_problem say of every family.
@pytest.mark.parametrize("family", ["full", "spherical"])
def test_a_map_fit_is_the_reference(family: str) -> None:
    result = steps(family)
    gmm = plain(start(family, X))
    history = []
    for _ in range(STEPS):
        history.append(
            reference.score(gmm, X, W) * W.sum() + reference.log_prior(gmm, PRIOR, family)
        )
        r = reference.responsibilities(gmm, X) * W[:, None]
        gmm = reference.map_m_step(X, r, family, PRIOR)
    history.append(reference.score(gmm, X, W) * W.sum() + reference.log_prior(gmm, PRIOR, family))
    assert_mixtures_close(result.mixture, gmm, 1e-9)
    np.testing.assert_allclose(result.history, np.array(history) / W.sum(), rtol=1e-9)
    np.testing.assert_allclose(result.objective, history[-1] / W.sum(), rtol=1e-9)
    np.testing.assert_allclose(result.log_likelihood, reference.score(gmm, X, W), rtol=1e-9)
    assert (np.diff(result.history) > 0).all()


@pytest.mark.parametrize("family", ["full", "spherical"])
def test_no_random_step_from_the_mode_is_uphill(family: str) -> None:
    """The posterior is stationary at the fit, by a derivative that knows nothing of EM."""
    best = steps(family, tol=1e-13, max_iter=500, accelerate=True)
    assert best.status == Status.CONVERGED

    def objective(chart: Any) -> Any:
        mixture = mixture_at(chart, best.mixture)
        return jgmm.score(mixture, X, W) * W.sum() + log_density(PRIOR, mixture)

    @program(once=True)
    def slope(mixture: jgmm.Mixture) -> Any:
        return jax.grad(objective)(chart_of(mixture))

    assert max(np.abs(leaf).max() for leaf in map(np.asarray, slope(best.mixture))) < 1e-2


@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
def test_the_weak_prior_keeps_the_likelihood_finite(family: str) -> None:
    """A component may not collapse onto a colour that many pixels have, even without a floor."""
    x = np.concatenate([X[:100], np.full((50, D), 9.0)])
    result = jgmm.fit(x, K, covariance_type=family, prior="weak", reg_covar=0.0)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.log_likelihood, jgmm.score(result.mixture, x), rtol=1e-9)


def test_the_weak_prior_is_that_of_the_paper() -> None:
    prior = jgmm.weak_prior(X, K, W)
    mean, _ = reference.mean_and_variance(X, W)
    np.testing.assert_allclose(prior.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(prior.scale, np.cov(X.T, aweights=W, ddof=0) / K ** (2 / D))
    assert (prior.dof, prior.mean_strength, prior.concentration) == (D + 2, 0.01, 1)
    by_name, given = (jgmm.fit(X, K, weights=W, prior=p) for p in ("weak", prior))
    np.testing.assert_array_equal(by_name.mixture.means, given.mixture.means)
    # Weak: next to nothing where there are data.
    plain_fit = jgmm.fit(X, K, weights=W)
    assert plain_fit.log_likelihood - given.log_likelihood < 0.1


def test_a_prior_is_equivariant_and_works_under_jit_and_vmap() -> None:
    options: dict[str, Any] = {"covariance_type": "diag", "search": "none"}
    expected = jgmm.fit(X, K, prior="weak", **options)
    scale = np.array([2.0, 1, 1])
    moved = jgmm.fit(X * scale + 5, K, prior="weak", **options)
    np.testing.assert_allclose(moved.mixture.means, expected.mixture.means * scale + 5)
    strengths = jnp.array([0.01, 5.0])
    prior = jgmm.weak_prior(X, K)

    def fit(strength: Any) -> jgmm.FitResult:
        given = dataclasses.replace(prior, mean_strength=strength)
        return jgmm.fit(X, K, prior=given, **options)

    lanes = program(once=True)(jax.vmap(fit))(strengths)
    np.testing.assert_allclose(lanes.log_likelihood[0], expected.log_likelihood, rtol=1e-8)
    assert lanes.log_likelihood[1] < lanes.log_likelihood[0]
    with pytest.raises(ValueError, match="prior: expected one of weak"):
        jgmm.fit(X, K, prior="strong")
