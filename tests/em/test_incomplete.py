"""Missing features and known labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from examples import FAMILIES, K, N, assert_mixtures_close, overlapping, plain, start

import jgmm
from jgmm.data.programs import program

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
RNG = np.random.default_rng(4)
GAPS = np.where(RNG.random(X.shape) < 0.25, np.nan, X)
GAPS[:3] = np.nan  # nothing at all is known of some
TRUTH = np.asarray(
    jgmm.fit(X.astype(np.float32), K).mixture.means
)  # only to have labels that mean something
LABELS = np.where(RNG.random(N) < 0.2, reference.nearest(TRUTH, X), -1)
STEPS = 5


def steps(x: np.ndarray, family: str, **options: Any) -> jgmm.FitResult:
    given = {"max_iter": STEPS, "tol": 0.0, "reg_covar": 0.0, "accelerate": False} | options
    return jgmm.fit(x, K, init=start(family, X), covariance_type=family, weights=W, **given)


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_features_are_the_reference(family: str) -> None:
    result = steps(GAPS, family, missing="nan")
    gmm, history = plain(start(family, X)), []
    for _ in range(STEPS):
        gmm, before = reference.em_step_with_gaps(gmm, GAPS, W, family)
        history.append(before)
    assert_mixtures_close(result.mixture, gmm, 1e-9)
    np.testing.assert_allclose(result.history[:STEPS], history, rtol=1e-9)
    assert (np.diff(result.history) > 0).all()


@pytest.mark.parametrize("family", ["full", "diag"])
def test_without_gaps_missing_changes_nothing(family: str) -> None:
    ours, expected = steps(X, family, missing="nan"), steps(X, family)
    assert_mixtures_close(ours.mixture, expected.mixture, 1e-9)
    np.testing.assert_allclose(ours.history, expected.history, rtol=1e-9)


def test_gaps_from_a_start_of_its_own_in_float32_and_under_jit() -> None:
    x = GAPS.astype(np.float32)
    options: dict[str, Any] = {"covariance_type": "diag", "missing": "nan", "search": "none"}
    eager = jgmm.fit(x, K, **options)
    assert eager.status == jgmm.Status.CONVERGED
    traced = program(once=True)(lambda x: jgmm.fit(x, K, **options))(x)
    np.testing.assert_allclose(traced.log_likelihood, eager.log_likelihood, rtol=1e-5)
    with pytest.raises(ValueError, match="finite"):
        jgmm.fit(x, K)
    with pytest.raises(ValueError, match="finite"):
        jgmm.fit(np.where(np.isnan(x), np.inf, x), K, missing="nan")


@pytest.mark.parametrize("family", ["full", "diag"])
def test_known_labels_are_the_reference(family: str) -> None:
    mixture = start(family, X)
    result = jgmm.fit(
        X, K, labels=LABELS, init=mixture, covariance_type=family, weights=W, reg_covar=0.0,
        max_iter=STEPS, tol=0.0, accelerate=False,
    )  # fmt: skip
    gmm = plain(mixture)
    for _ in range(STEPS):
        r = reference.responsibilities(gmm, X)
        r[LABELS >= 0] = np.eye(K)[LABELS[LABELS >= 0]]
        gmm = reference.m_step(X, r * W[:, None], family, np.zeros(X.shape[1]))
    assert_mixtures_close(result.mixture, gmm, 1e-9)
    assert (np.diff(result.history) > 0).all()


def test_components_stand_where_their_labels_are() -> None:
    order = np.array([2, 0, 1])
    permuted = np.where(LABELS >= 0, order[LABELS], -1)
    for labels in (LABELS, permuted):
        result = jgmm.fit(X, K, labels=labels)
        for k in range(K):
            assert (
                np.argmin(np.linalg.norm(result.mixture.means - X[labels == k].mean(0), axis=1))
                == k
            )
    # All labels known: the M-step is all there is.
    everything = np.asarray(reference.nearest(TRUTH, X))
    result = jgmm.fit(X, K, labels=everything, reg_covar=0.0)
    expected = reference.m_step(X, np.eye(K)[everything], "full", np.zeros(X.shape[1]))
    assert_mixtures_close(result.mixture, expected, 1e-7)


def test_labels_gaps_and_a_prior_together() -> None:
    known: dict[str, Any] = {"labels": LABELS, "missing": "nan", "prior": "weak"}
    result = jgmm.fit(GAPS, K, covariance_type="diag", **known)
    assert result.status == jgmm.Status.CONVERGED
    with pytest.raises(ValueError, match="labels: expected labels from -1"):
        jgmm.fit(X, K, labels=LABELS + 1)
    with pytest.raises(TypeError, match="labels: expected integer"):
        jgmm.fit(X, K, labels=LABELS + 0.0)
