"""`sweep`: each fit is the single fit, and the choice is the criterion's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import overlapping

import jgmm
from jgmm.data.programs import program

X = overlapping().astype(np.float32)
KS = (4, 1, 2)
# Where sweeps search, they also try each k from its neighbours; see test_path.py.
OPTIONS: dict[str, Any] = {"max_iter": 40, "tol": 1e-5, "search": "none"}
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def result() -> jgmm.SweepResult:
    return jgmm.sweep(X, KS, key=KEY, n_restarts=2, **OPTIONS)


def test_shapes(result: jgmm.SweepResult) -> None:
    assert result.n_components.tolist() == [4, 1, 2]
    assert result.fits.mixture.means.shape == (3, 2, 4, 3)
    assert result.fits.history.shape == (3, 2, 41)
    assert result.bic.shape == result.aic.shape == result.icl.shape == (3, 2)


def test_every_fit_is_the_single_fit(result: jgmm.SweepResult) -> None:
    for s, k in enumerate(KS):
        for r, key in enumerate(jax.random.split(KEY, 2)):
            single = jgmm.fit(X, k, key=key, **OPTIONS)
            swept = jax.tree.map(lambda leaf, s=s, r=r: leaf[s, r], result.fits)
            assert int(swept.n_iter) == int(single.n_iter)
            np.testing.assert_allclose(swept.log_likelihood, single.log_likelihood, rtol=2e-6)
            np.testing.assert_allclose(
                swept.mixture.means[:k], single.mixture.means, rtol=1e-3, atol=1e-4
            )
            assert not swept.mixture.weights[k:].any()


def test_indexing_takes_the_padding_off_the_best_restart(result: jgmm.SweepResult) -> None:
    for s, k in enumerate(KS):
        fit = result[k]
        assert fit.mixture.n_components == k
        assert fit.mixture.covariance_type == "full"
        np.testing.assert_array_equal(fit.log_likelihood, result.fits.log_likelihood[s].max())
        np.testing.assert_allclose(jgmm.score(fit.mixture, X), fit.log_likelihood, rtol=1e-5)
        s_bic = result.bic[s, int(jnp.argmax(result.fits.log_likelihood[s]))]
        np.testing.assert_allclose(jgmm.bic(fit.mixture, X), s_bic, rtol=1e-5)
        s_icl = result.icl[s, int(jnp.argmax(result.fits.log_likelihood[s]))]
        np.testing.assert_allclose(jgmm.icl(fit.mixture, X), s_icl, rtol=1e-5)


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl"])
def test_best_has_the_least_criterion(result: jgmm.SweepResult, criterion: str) -> None:
    best = result.best(criterion)
    least = np.min(getattr(result, criterion))
    np.testing.assert_allclose(getattr(jgmm, criterion)(best.mixture, X), least, rtol=1e-5)


def test_under_jit_side_by_side_they_are_the_same(result: jgmm.SweepResult) -> None:
    traced = program(once=True)(lambda x: jgmm.sweep(x, KS, key=KEY, n_restarts=2, **OPTIONS))(X)
    np.testing.assert_allclose(traced.fits.log_likelihood, result.fits.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(traced.bic, result.bic, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_a_tied_family_keeps_its_one_matrix() -> None:
    result = jgmm.sweep(X, (3, 2), covariance_type="tied", max_iter=5)
    assert result[2].mixture.covariances.shape == (1, 3, 3)
    assert result[2].mixture.covariance_type == "tied"


def test_on_fit_hears_of_every_fit() -> None:
    heard = []
    jgmm.sweep(X, KS, key=KEY, n_restarts=2, on_fit=lambda *a: heard.append(a), **OPTIONS)
    assert sorted((k, r) for k, r, _ in heard) == [(k, r) for k in (1, 2, 4) for r in (0, 1)]
    assert all(seconds > 0 for _, _, seconds in heard)


RNG = np.random.default_rng(4)
GAPS = np.where(RNG.random(X.shape) < 0.25, np.nan, X)
LABELS = np.where(RNG.random(len(X)) < 0.2, (X[:, 0] > X[:, 0].mean()).astype(int), -1)
INCOMPLETE: dict[str, dict[str, Any]] = {
    "labels": {"labels": LABELS, "prior": jgmm.weak_prior(X, 5)},
    "all": {"prior": "weak", "missing": "nan", "labels": LABELS},
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_priors_gaps_and_labels_are_those_of_fit(name: str) -> None:
    given = {**INCOMPLETE[name], **OPTIONS}
    x = GAPS if "missing" in given else X
    w = RNG.uniform(0.1, 2, len(X))
    result = jgmm.sweep(x, (4, 2), weights=w, **given)
    for s, k in enumerate((4, 2)):
        single = jgmm.fit(x, k, weights=w, **given)
        swept = result[k]
        assert int(swept.n_iter) == int(single.n_iter)
        np.testing.assert_allclose(swept.log_likelihood, single.log_likelihood, rtol=2e-6)
        np.testing.assert_allclose(swept.history, single.history, rtol=1e-5)
        np.testing.assert_allclose(swept.mixture.means, single.mixture.means, rtol=1e-3, atol=1e-4)
        p = (np.array([1 + 3 + 6]) * k - 1).item()
        n = w.sum()
        bic = -2 * n * float(single.log_likelihood) + p * np.log(n)
        np.testing.assert_allclose(result.bic[s, 0], bic, rtol=1e-5)
        # ICL adds twice the entropy of what is not known
        if "missing" not in given:
            r = np.asarray(jgmm.responsibilities(single.mixture, X), np.float64)
            entropy = -np.sum(np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0), axis=1)
            unknown = LABELS < 0 if "labels" in given else np.ones(len(X), bool)
            expected = bic + 2 * np.sum((w * entropy)[unknown])
            np.testing.assert_allclose(result.icl[s, 0], expected, rtol=1e-5)


def test_priors_gaps_and_labels_under_jit() -> None:
    given = {**INCOMPLETE["all"], **OPTIONS}
    eager = jgmm.sweep(GAPS, (4, 2), **given)
    traced = program(once=True)(lambda x: jgmm.sweep(x, (4, 2), **given))(GAPS)
    np.testing.assert_allclose(traced.fits.log_likelihood, eager.fits.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(traced.icl, eager.icl, rtol=1e-5)
    families = jgmm.sweep_families(GAPS, (4, 2), ["full"], **given)
    np.testing.assert_allclose(families["full"].bic, eager.bic, rtol=1e-6)


def test_gaps_in_the_entropy_are_integrated_out() -> None:
    result = jgmm.sweep(GAPS.astype(np.float64), (2,), missing="nan", **OPTIONS)
    mixture = jax.device_get(result[2].mixture)
    entropy = 0.0
    for x in GAPS.astype(np.float64):
        seen = np.flatnonzero(~np.isnan(x)).tolist()
        r = mixture.weights
        if seen:
            r = np.asarray(jgmm.responsibilities(jgmm.marginal(mixture, seen), x[None, seen])[0])
        entropy -= float(np.sum(np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0)))
    np.testing.assert_allclose(result.icl - result.bic, [[2 * entropy]], rtol=1e-6)


def test_what_is_wrong_is_said(result: jgmm.SweepResult) -> None:
    with pytest.raises(KeyError, match="expected one of the numbers of components"):
        result[3]
    with pytest.raises(ValueError, match="criterion: expected one of bic, aic, icl; got 'x'"):
        result.best("x")
    with pytest.raises(ValueError, match="ks: expected different numbers"):
        jgmm.sweep(X, (2, 2))
    with pytest.raises(ValueError, match="ks: expected different numbers"):
        jgmm.sweep(X, ())
    with pytest.raises(ValueError, match="ks: expected at least 1, got 0"):
        jgmm.sweep(X, (0, 1))
    with pytest.raises(ValueError, match="labels: expected labels from -1"):
        jgmm.sweep(X, (4, 1), labels=LABELS)
    with pytest.raises(ValueError, match="prior: expected one of weak"):
        jgmm.sweep(X, (4, 1), prior="strong")
    with pytest.raises(ValueError, match="finite"):
        jgmm.sweep(GAPS, (4, 1))
