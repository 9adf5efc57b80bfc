"""Fits of families whose components share something: all that can be done with them, or why not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import reference
from examples import D, K, N, X, cast, plain, slope_at_the_end

import jgmm
from jgmm import plot

LABELS = np.random.default_rng(0).integers(K, size=N)
OPTIONS: dict[str, Any] = {"covariance_type": "VEV", "search": "none"}


def fit(x: Any = X, **options: Any) -> jgmm.FitResult:
    return jgmm.fit(x, K, **{**OPTIONS, "tol": 1e-12, **options})


def test_what_can_be_done_with_a_fit(tmp_path: Path) -> None:
    result = fit()
    mixture = result.mixture
    assert result.status == jgmm.Status.CONVERGED
    assert mixture.covariance_type == "VEV"
    assert (np.diff(result.learning_curve) >= 0).all()
    spectra = np.linalg.eigvalsh(mixture.covariances)
    shapes = spectra / spectra[:, :1]
    np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), rtol=1e-6)
    exact = plain(mixture)
    score = reference.score(exact, X, np.ones(N))
    np.testing.assert_allclose(result.log_likelihood, score, rtol=1e-9)
    shares = reference.responsibilities(exact, X)
    np.testing.assert_array_equal(jgmm.predict(mixture, X), shares.argmax(1))
    # As mclust counts: K volumes, a shape, and K orientations.
    parameters = K * D + K - 1 + K + D - 1 + K * D * (D - 1) // 2
    expected = -2 * N * score + parameters * np.log(N)
    np.testing.assert_allclose(jgmm.bic(mixture, X), expected, rtol=1e-9)
    jgmm.save(tmp_path / "model", mixture)
    assert jgmm.load(tmp_path / "model").family is mixture.family
    # Of some features nothing is shared.
    part = jgmm.marginal(mixture, [2, 0])
    assert part.covariance_type == "full"
    np.testing.assert_allclose(
        jgmm.score(part, X[:, [2, 0]]),
        reference.score(
            reference.Gmm(
                exact.weights, exact.means[:, [2, 0]], exact.covariances[:, [2, 0]][:, :, [2, 0]]
            ),
            X[:, [2, 0]],
            np.ones(N),
        ),
        rtol=1e-9,
    )
    assert jgmm.condition(mixture, [0], X[0, :1]).covariance_type == "full"
    drawn, _ = jgmm.sample(mixture, N)
    assert drawn.shape == X.shape
    estimator = pytest.importorskip("jgmm.sklearn").from_mixture(mixture)
    assert estimator.covariance_type == "full"
    np.testing.assert_allclose(estimator.score(X), score, rtol=1e-9)


def test_a_warm_start_of_another_family_is_brought_into_it() -> None:
    """So that what is more likely than anything in the family is not taken for a fit."""
    free = jgmm.fit(X, K, search="none", tol=1e-12).mixture
    result = fit(init=free)
    assert result.mixture.covariance_type == "VEV"
    assert result.log_likelihood < jgmm.score(free, X)
    assert (np.diff(result.learning_curve) >= 0).all()
    again = fit(init=result.mixture, max_iter=0)
    np.testing.assert_allclose(
        again.mixture.covariances, result.mixture.covariances, rtol=1e-9, atol=1e-12
    )


def test_single_precision() -> None:
    low, high = fit(cast(X, np.float32), tol=1e-7), fit()
    np.testing.assert_allclose(low.log_likelihood, high.log_likelihood, atol=2e-5)


def test_the_derivative_of_a_fit_is_its_finite_difference() -> None:
    apart = 0.5 * X + 6 * np.eye(D)[np.arange(N) % K]
    change = np.random.default_rng(2).normal(size=X.shape)
    begin = fit(apart).mixture

    def widths(mixture: Any) -> Any:
        return mixture.covariances[:, 0, 1].sum() + mixture.means[:, 0].sum()

    def ending(pixels: Any) -> jgmm.FitResult:
        return fit(pixels, init=begin, max_iter=60, tol=0.0, accelerate=False)

    step = 1e-4
    up, down = (widths(ending(apart + h * change).mixture) for h in (step, -step))
    best = ending(apart)
    slope = slope_at_the_end(lambda mixture, _: widths(mixture), best, apart, change)
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-5)


def test_standard_errors_are_smaller_than_of_a_family_without_restraint() -> None:
    mixture = fit().mixture
    errors = jgmm.standard_errors(mixture, X)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(errors))
    assert errors.covariances.shape == mixture.covariances.shape
    # As far as the fit is from that of a family whose free parameters are known to be right.
    one = jgmm.Mixture(np.ones(1), X.mean(0)[None], np.cov(X.T, ddof=0)[None], family="VEV")
    free = dataclasses.replace(one, family="full")
    restrained, full = (jgmm.standard_errors(m, X) for m in (one, free))
    # Of one component nothing is shared.
    np.testing.assert_allclose(restrained.covariances, full.covariances, rtol=1e-5)


def test_families_are_swept_by_any_name() -> None:
    x = X[:, :1]
    result = jgmm.sweep_families(x, [1, 2], "mclust", search="none")
    assert list(result.sweeps) == ["tied", "full"]
    assert result["EEE"] is result["E"] is result["tied"]
    ax = plot.criteria(result.n_components, result.curves("bic"))
    assert len(ax.lines) == 4
    several = plot.criteria([1, 2], {f"family {i}": [1.0, 2.0] for i in range(14)})
    looks = {(line.get_color(), line.get_linestyle()) for line in several.lines[::2]}
    assert len(looks) == 14


def test_what_does_not_work_is_said() -> None:
    with pytest.raises(ValueError, match="covariance_type: expected a family of free covariances"):
        jgmm.fit_gradient(X, K, covariance_type="VEV")
    with pytest.raises(ValueError, match="expected VEE covariances, of one shape and one orient"):
        jgmm.Mixture(
            np.ones(2) / 2,
            np.zeros((2, 2)),
            np.array([[[1.0, 0.5], [0.5, 1]], [[1, 0], [0, 3]]]),
            family="VEE",
        )
