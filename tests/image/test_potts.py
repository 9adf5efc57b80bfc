"""EM under a Potts prior: its laws, and what it is for."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import jgmm
from jgmm.data import monitor
from jgmm.image.field import smoothed
from jgmm.image.potts import PottsResult, fit_potts
from jgmm.image.potts_labels import potts_labels

# One compiled program serves all of these.
COMMON: dict[str, Any] = {"max_iter": 100}


def synthetic(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Four classes in squares, levels 1/3 apart, noise of σ = 0.2."""
    truth = np.random.default_rng(1).integers(0, 4, (4, 4))
    truth = truth.repeat(size // 4, axis=0).repeat(size // 4, axis=1)
    noise = np.random.default_rng(0).normal(0, 0.2, truth.shape)
    return truth, (truth / 3 + noise)[..., None]


def mislabelled(labels: np.ndarray, truth: np.ndarray) -> float:
    orders = permutations(range(truth.max() + 1))
    return min(float(np.mean(np.array(p)[labels] != truth)) for p in orders)


def wrong(found: PottsResult, noisy: np.ndarray, truth: np.ndarray) -> float:
    """The share mislabelled, by the fit and by its mixture alone, whichever is more."""
    again, _ = potts_labels(found.fit.mixture, noisy, beta=found.beta)
    return max(mislabelled(found.labels, truth), mislabelled(again, truth))


def test_noise_of_a_synthetic_image_is_overcome() -> None:
    truth, noisy = synthetic()
    plain = jgmm.predict(jgmm.fit(noisy, 4).mixture, noisy)
    found = fit_potts(noisy, 4, **COMMON)
    # Each pixel for itself, 0.23 to 0.35 of them, by what a fit of classes that overlap ends in.
    assert mislabelled(np.asarray(plain), truth) > 0.2
    assert wrong(found, noisy, truth) <= 0.05
    assert found.beta > 0.5
    np.testing.assert_allclose(
        np.sort(np.asarray(found.fit.mixture.means)[:, 0]), np.arange(4) / 3, atol=0.03
    )


@pytest.mark.parametrize(("width", "most"), [(4, 0.06), (5, 0.04)])
def test_classes_that_are_thin_are_kept(width: int, most: float) -> None:
    # A start from wider averages loses one: 14% and 10% are mislabelled then.
    rng = np.random.default_rng(1)
    fields = gaussian_filter(rng.normal(size=(4, 128, 128)), (0, width, width), mode="wrap")
    truth = fields.argmax(axis=0)
    noisy = (truth / 3 + rng.normal(0, 0.2, truth.shape))[..., None]
    found = fit_potts(noisy, 4, **COMMON)
    assert wrong(found, noisy, truth) <= most


@pytest.mark.parametrize("width", [6, 10])
def test_more_noise_loses_no_class(width: int) -> None:
    # With the shares of the classes counted at each pixel, 8% and 12% are mislabelled.
    rng = np.random.default_rng(1)
    fields = gaussian_filter(rng.normal(size=(4, 128, 128)), (0, width, width), mode="wrap")
    truth = fields.argmax(axis=0)
    noisy = (truth / 3 + rng.normal(0, 0.3, truth.shape))[..., None]
    assert wrong(fit_potts(noisy, 4, **COMMON), noisy, truth) <= 0.06


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_a_rare_class_is_kept(share: float) -> None:
    # With the shares of the classes counted at each pixel, the rare one goes.
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(size=(128, 128)), 4, mode="wrap")
    truth = (field > np.quantile(field, 1 - share)).astype(int)
    noisy = (truth / 3 + rng.normal(0, 0.2, truth.shape))[..., None]
    found = fit_potts(noisy, 2, **COMMON)
    assert wrong(found, noisy, truth) <= 0.03
    shares = np.sort(np.asarray(found.fit.mixture.weights))
    np.testing.assert_allclose(shares, [share, 1 - share], atol=0.02)


def test_the_start_that_foretells_best_is_taken() -> None:
    # A start from averages over 3 by 3 pixels cuts the first class in two, and 7% are mislabelled.
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(size=(128, 128)), 10, mode="wrap")
    truth = np.searchsorted(np.quantile(field, [0.7, 0.85, 0.95]), field)
    noisy = (truth / 3 + np.random.default_rng(1001).normal(0, 0.2, truth.shape))[..., None]
    assert wrong(fit_potts(noisy, 4, **COMMON), noisy, truth) <= 0.03


def test_the_estimate_smooths_bands_no_more_than_is_good() -> None:
    # Pseudo-likelihood gives 1.5 or 2 times the β at which the fewest pixels are mislabelled.
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(size=(128, 128)), 6, mode="wrap")
    truth = np.searchsorted(np.quantile(field, [0.25, 0.5, 0.75]), field)
    noisy = (truth / 3 + rng.normal(0, 0.2, truth.shape))[..., None]
    found = fit_potts(noisy, 4, **COMMON)
    others = {
        b: mislabelled(fit_potts(noisy, 4, beta=b, **COMMON).labels, truth) for b in (0.8, 1.0)
    }
    assert mislabelled(found.labels, truth) <= min(others.values()) + 0.004


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_no_step_lowers_the_objective(beta: float) -> None:
    _, noisy = synthetic()
    fit = fit_potts(noisy, 4, beta=beta, **COMMON).fit
    history = np.asarray(fit.history)[: int(fit.n_iter) + 1]
    assert len(history) > 3
    assert (np.diff(history) > -1e-12).all()
    assert float(fit.objective) == history[-1]


def test_without_coupling_it_is_the_mixture_of_equal_weights() -> None:
    _, noisy = synthetic()
    fit = fit_potts(noisy, 4, beta=0.0, **COMMON).fit
    # The start of a step, whose bound is tight, has the likelihood of its mixture.
    equal = dataclasses.replace(fit.mixture, weights=np.full(4, 0.25))
    np.testing.assert_allclose(fit.objective, jgmm.score(equal, noisy), rtol=1e-9)
    assert (np.diff(np.asarray(fit.history)[: int(fit.n_iter) + 1]) > -1e-12).all()


def test_the_likelihood_is_that_of_the_mixture_and_the_objective_another() -> None:
    """Of the pixels that take part, in the units of the data."""
    truth, noisy = synthetic()
    inside = np.ones(truth.shape, bool)
    inside[:40, :50] = False
    for scale, beta in ((1.0, 0.3), (1.0, 1.0), (50.0, 1.0)):
        fit = fit_potts(scale * noisy, 4, inside, beta=beta, **COMMON).fit
        score = jgmm.score(fit.mixture, scale * noisy, inside)
        np.testing.assert_allclose(fit.log_likelihood, score, rtol=1e-9)
        assert float(fit.objective) == fit.history[int(fit.n_iter)]
        assert abs(float(fit.objective) - float(fit.log_likelihood)) > 0.01


def test_it_is_equivariant_and_ignores_what_is_left_out() -> None:
    truth, noisy = synthetic()
    inside = np.ones(truth.shape, bool)
    inside[:40, :50] = False
    one = fit_potts(noisy, 4, inside, beta=1.0, **COMMON)
    other = fit_potts(
        np.where(inside[..., None], 1000 - 50 * noisy, 7e6), 4, inside, beta=1.0, **COMMON
    )
    assert (one.labels[~inside] == -1).all()
    agree = np.mean(one.labels[inside] == other.labels[inside])
    assert agree > 0.999
    np.testing.assert_allclose(
        np.sort(1000 - 50 * np.asarray(one.fit.mixture.means)[:, 0]),
        np.sort(np.asarray(other.fit.mixture.means)[:, 0]),
        atol=0.05,
    )


def test_labels_of_a_mixture_ignore_what_is_left_out_and_the_units() -> None:
    truth, noisy = synthetic()
    inside = np.ones(truth.shape, bool)
    inside[:40, :50] = False
    levels = np.arange(4)[:, None] / 3
    mixture = jgmm.Mixture(np.ones(4) / 4, levels, np.full((4, 1), 0.04))
    scaled = jgmm.Mixture(np.ones(4) / 4, 1000 - 50 * levels, np.full((4, 1), 100.0))
    labels, sure = potts_labels(mixture, noisy, inside, beta=1.0)
    again, _ = potts_labels(
        scaled, np.where(inside[..., None], 1000 - 50 * noisy, 7e6), inside, beta=1.0
    )
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(labels < 0, ~inside)
    assert (sure[inside] >= 0.25).all()
    assert np.mean(labels[inside] != truth[inside]) < 0.02


def test_wrong_arguments() -> None:
    _, noisy = synthetic()
    with pytest.raises(ValueError, match="beta"):
        fit_potts(noisy, 4, beta=-1.0)
    with pytest.raises(ValueError, match="beta"):
        fit_potts(noisy, 4, beta="most")
    with pytest.raises(ValueError, match=r"\[H, W, D\]"):
        fit_potts(noisy[0], 4)
    for tol in (-1, float("nan")):
        with pytest.raises(ValueError, match="tol: expected a finite number of at least 0"):
            fit_potts(noisy, 4, tol=tol)
        with pytest.raises(ValueError, match="tol: expected a finite number of at least 0"):
            jgmm.segment(noisy, 4, noise_model="potts", features="bands", tol=tol)


def test_no_steps_leave_the_mixture_that_was_given() -> None:
    truth, noisy = synthetic()
    levels = np.arange(4)[:, None] / 3 + 0.02
    mixture = jgmm.Mixture(np.array([0.4, 0.3, 0.2, 0.1]), levels, np.full((4, 1, 1), 0.05))
    found = fit_potts(noisy, 4, init=mixture, max_iter=0)
    assert int(found.fit.n_iter) == 0
    assert found.fit.status == jgmm.Status.MAX_ITER
    for name in ("weights", "means", "covariances"):
        is_, was = getattr(found.fit.mixture, name), getattr(mixture, name)
        np.testing.assert_allclose(is_, was, rtol=1e-5)
    assert found.beta > 0.5
    assert mislabelled(found.labels, truth) < 0.05


def test_no_steps_leave_a_start() -> None:
    """One that the labels of averages over squares make of the pixels."""
    _, noisy = synthetic()
    found = fit_potts(noisy, 4, max_iter=0)
    starts, inside = [], np.ones(noisy.shape[:2], bool)
    for first in smoothed(noisy, inside):
        q = np.asarray(jgmm.responsibilities(jgmm.fit(first, 4, max_iter=0).mixture, first))
        starts.append(np.einsum("hwk,hw->k", q, noisy[..., 0]) / np.sum(q, axis=(0, 1)))
    means = np.asarray(found.fit.mixture.means)[:, 0]
    assert min(np.abs(means - start).max() for start in starts) < 1e-3
    after = fit_potts(noisy, 4, **COMMON).fit.mixture.means
    assert np.abs(np.sort(means) - np.sort(np.asarray(after)[:, 0])).max() > 5e-3


class Heard:
    """What is said of how far work has come."""

    def __init__(self) -> None:
        self.expected, self.said = 0, list[tuple[str, int]]()

    def expect(self, n: int) -> None:
        self.expected += n

    def hear(self, about: str, value: float, steps: int, left: float | None = None) -> None:
        self.said.append((about, steps))


def test_it_says_how_far_it_has_come() -> None:
    _, noisy = synthetic()
    heard = Heard()
    with monitor.heard_by(heard):
        found = fit_potts(noisy, 4, **COMMON)
    assert len(heard.said) == heard.expected == 4  # three starts, and the fit itself
    assert heard.said[-1] == ("k = 4, tied", int(found.fit.n_iter))


def test_segment_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    _, noisy = synthetic(32)
    options: dict[str, Any] = {"features": "bands", "noise_model": "potts", **COMMON}
    silent = jgmm.segment(noisy, 4, **options)
    assert capsys.readouterr().err == ""
    assert jgmm.segment(noisy, 4, progress=True, **options) == silent
    assert "k = 4, tied" in capsys.readouterr().err
