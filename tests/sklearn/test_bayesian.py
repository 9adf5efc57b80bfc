"""`BayesianGaussianMixture` against scikit-learn's own, from the same random state."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.mixture
from examples import FAMILIES, K, overlapping
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture.tests import test_bayesian_mixture as theirs_tests

from jgmm.sklearn import BayesianGaussianMixture, GaussianMixture
from jgmm.sklearn._distinct import distinct

X = overlapping()
KINDS = ("dirichlet_process", "dirichlet_distribution")
STARTS = ("kmeans", "k-means++", "random", "random_from_data")
OF_THEIR_OWN = (
    *("weights_", "means_", "mean_precision_", "degrees_of_freedom_", "covariances_"),
    *("precisions_", "precisions_cholesky_", "weight_concentration_", "covariance_prior_"),
)


def both(x: np.ndarray = X, **options: Any) -> tuple[Any, Any]:
    """The same fit by jgmm and by scikit-learn."""
    options = {"n_components": K, "random_state": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sklearn.mixture.BayesianGaussianMixture(**options).fit(x)
        return BayesianGaussianMixture(**options).fit(x), theirs


def assert_same(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    bounds = np.ravel(theirs.lower_bounds_)  # scikit-learn's of tied components have an axis more
    np.testing.assert_allclose(ours.lower_bounds_, bounds, rtol=tolerance)
    np.testing.assert_allclose(ours.lower_bound_, np.ravel(theirs.lower_bound_)[0], rtol=tolerance)
    for name in OF_THEIR_OWN:
        mine, other = np.asarray(getattr(ours, name)), np.asarray(getattr(theirs, name))
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(mine, other, rtol=1e-7, atol=tolerance)


# Weights know nothing of covariances, nor these of them: each kind with every other family.
@pytest.mark.parametrize(("family", "kind"), list(zip(FAMILIES, KINDS * 2, strict=True)))
def test_a_fit_is_theirs(family: str, kind: str) -> None:
    options = {"covariance_type": family, "weight_concentration_prior_type": kind}
    start = STARTS[FAMILIES.index(family)]
    ours, theirs = both(init_params=start, reg_covar=1e-3, max_iter=40, **options)
    assert_same(ours, theirs)
    for method in ("predict", "predict_proba", "score_samples", "score"):
        got, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.sample(5)[0], theirs.sample(5)[0], atol=1e-6)


def test_priors_restarts_and_warm_starts_are_theirs() -> None:
    given = {"weight_concentration_prior": 3.0, "mean_precision_prior": 0.1}
    given |= {"mean_prior": X[0], "degrees_of_freedom_prior": 5.5, "covariance_prior": np.eye(3)}
    assert_same(*both(n_init=2, init_params="random", max_iter=40, **given))
    ours, theirs = both(warm_start=True, max_iter=2, tol=1e-9)
    for estimator in (ours, theirs):
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X)
    assert_same(ours, theirs)
    assert_same(*both(max_iter=0))


def test_float32_is_kept() -> None:
    far = (X + 1000).astype(np.float32)
    options = {"n_components": K, "random_state": 0, "init_params": "random", "max_iter": 100}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = BayesianGaussianMixture(**options).fit(far)
        exact = BayesianGaussianMixture(**options).fit(far.astype(float))
    assert ours.means_.dtype == ours.weights_.dtype == ours.covariances_.dtype == np.float32
    assert ours.score_samples(far).dtype == np.float32
    np.testing.assert_allclose(ours.score(far), exact.score(far.astype(float)), atol=1e-4)


def test_weights_are_repetitions() -> None:
    x = X[:100]
    weights = np.random.default_rng(0).integers(1, 4, size=len(x))
    for family in FAMILIES:
        options = {"covariance_type": family, "max_iter": 40, "tol": 1e-6}
        one = BayesianGaussianMixture(**options).fit(x, sample_weight=weights)
        repeated = BayesianGaussianMixture(**options).fit(x.repeat(weights, axis=0))
        np.testing.assert_allclose(one.lower_bound_, repeated.lower_bound_, rtol=1e-9)
        np.testing.assert_allclose(one.covariances_, repeated.covariances_, rtol=1e-9)
        np.testing.assert_allclose(one.covariance_prior_, repeated.covariance_prior_, rtol=1e-9)


def test_samples_that_come_again_are_counted() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, size=(20_000, 3)) / 255
    w = rng.uniform(size=len(x))
    rows, sums, place, first = distinct(x, w)
    np.testing.assert_array_equal(rows[place], x)
    np.testing.assert_array_equal(rows, x[first])
    assert len(rows) == 64
    np.testing.assert_allclose(sums @ rows, w @ x)
    for row, total in zip(rows, sums, strict=True):
        np.testing.assert_allclose(w[(x == row).all(axis=1)].sum(), total)
    few, other = rng.normal(size=(20_000, 3)), rng.integers(0, 2, size=(99, 3)) / 255
    assert distinct(few, w)[0] is few
    assert distinct(other, w[:99])[0] is other
    start = {"init_params": "random"}  # k-means has ties on a lattice
    assert_same(*both(x, max_iter=3, **start))
    options = {"n_components": K, "random_state": 0, "max_iter": 5, "tol": 0} | start
    with pytest.warns(ConvergenceWarning):
        ours = GaussianMixture(**options).fit(x)
    with pytest.warns(ConvergenceWarning):
        theirs = sklearn.mixture.GaussianMixture(**options).fit(x)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)


def test_what_is_printed_is_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"n_components": K, "random_state": 0, "max_iter": 40, "verbose": 2}
    printed = []
    for cls in (BayesianGaussianMixture, sklearn.mixture.BayesianGaussianMixture):
        cls(verbose_interval=3, **options).fit(X)
        lines = capsys.readouterr().out.splitlines()
        printed.append([re.sub(r"\s*time lapse [0-9.]+s", "", line) for line in lines])
    ours, theirs = ([re.sub(r"[-0-9.]{4,}", "#", line) for line in lines] for lines in printed)
    assert ours == theirs


# Others than these are of functions of scikit-learn's own, or take many fits (that of what is
# predicted has twelve; above it is compared with theirs).
# `python -m experiments.drop_in` runs all of them.
_THEIRS = (
    "test_bayesian_mixture_weights_prior_initialisation",
    "test_bayesian_mixture_mean_prior_initialisation",
    "test_bayesian_mixture_precisions_prior_initialisation",
    "test_bayesian_mixture_check_is_fitted",
    "test_bayesian_mixture_weights",
    "test_compare_covar_type",
    "test_check_covariance_precision",
    "test_invariant_translation",
)


@pytest.mark.parametrize("name", _THEIRS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_their_tests_pass_with_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs_tests, "BayesianGaussianMixture", BayesianGaussianMixture)
    function = getattr(theirs_tests, name)
    assert not inspect.signature(function).parameters
    function()
