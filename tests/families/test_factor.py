"""Factor analysers and probabilistic principal components, against dense algebra."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.linalg
import scipy.stats
from examples import (
    STEPS,
    TOLERANCE,
    assert_history_is_right,
    assert_mixtures_close,
    cast,
    slope_at_the_end,
)

import jgmm
from jgmm.data.programs import program
from jgmm.families.factor import Factor
from jgmm.families.ppca import Ppca
from jgmm.families.table import OF_RANK, family_of, with_rank

K, D, Q, N = 2, 5, 2, 240
NAMES = (f"factor({Q})", f"ppca({Q})")
for_both = pytest.mark.parametrize("name", NAMES)


def drawn(seed: int = 2) -> np.ndarray:
    """Samples [N, D] of two components of two factors each, whose variances stay off the floor."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(size=(N // K, Q)) @ rng.normal(size=(Q, D))
        + rng.uniform(0.2, 0.6, D) * rng.normal(size=(N // K, D))
        + 2 * rng.normal(size=D)
        for _ in range(K)
    ]
    return np.concatenate(parts)


X = drawn()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)


def start(name: str) -> jgmm.Mixture:
    """A rough one, of loadings that are not those of any fit."""
    rng = np.random.default_rng(3)
    loadings = rng.normal(size=(K, D, Q))
    variances = rng.uniform(0.5, 1.5, size=(K, D, 1))
    if name.startswith("ppca"):
        variances = variances[:, :1].repeat(D, axis=1)
    covariances = np.concatenate([variances, loadings], axis=-1)
    return jgmm.Mixture([0.4, 0.6], X[[0, -1]], covariances, name)  # type: ignore[arg-type]


def textbook(mixture: jgmm.Mixture) -> reference.Gmm:
    """The mixture as the reference has it."""
    exact = cast(mixture, np.float64)
    dense = exact.family.dense(exact.covariances, *exact.means.shape)
    return reference.Gmm(exact.weights, exact.means, dense)


def dense_of(mixture: jgmm.Mixture) -> jgmm.Mixture:
    """The same as one of full covariances."""
    return jgmm.Mixture(*textbook(mixture))  # type: ignore[arg-type]


class Textbook:
    """An M-step for factors that goes on from where the last one ended."""

    def __init__(self, mixture: jgmm.Mixture) -> None:
        self.psi = np.asarray(mixture.covariances, np.float64)[..., 0].copy()
        self.loadings = np.asarray(mixture.covariances, np.float64)[..., 1:].copy()
        self.isotropic = mixture.family.isotropic

    def __call__(self, scatters: np.ndarray, counts: Any, floor: np.ndarray) -> np.ndarray:
        found = []
        for k, s in enumerate(scatters):
            lam = self.loadings[k]
            beta = lam.T @ np.linalg.inv(lam @ lam.T + np.diag(self.psi[k]))
            second = np.eye(Q) - beta @ lam + beta @ s @ beta.T
            best = s @ beta.T @ np.linalg.inv(second)
            psi = np.diag(s - best @ beta @ s)
            self.psi[k] = np.maximum(psi.mean() if self.isotropic else psi, floor)
            self.loadings[k] = best @ scipy.linalg.sqrtm(second)
            found.append(self.loadings[k] @ self.loadings[k].T + np.diag(self.psi[k]))
        return np.array(found)


@pytest.mark.parametrize(
    ("name", "dtype"), [(NAMES[0], np.float64), (NAMES[1], np.float64), (NAMES[0], np.float32)]
)
def test_plain_em_is_the_reference(name: str, dtype: type) -> None:
    x, w, mixture = cast(X, dtype), cast(W, dtype), cast(start(name), dtype)
    result = jgmm.fit(
        x, K, weights=w, init=mixture, covariance_type=name,
        accelerate=False, max_iter=STEPS, tol=0.0, reg_covar=0.0,
    )  # fmt: skip
    x64, w64 = cast(x, np.float64), cast(w, np.float64)
    expected, history = reference.fit(
        textbook(mixture), x64, w64, Textbook(mixture), np.zeros(D), STEPS
    )
    assert_history_is_right(result, STEPS)
    tolerance = TOLERANCE[np.dtype(dtype)]
    assert_mixtures_close(textbook(result.mixture), expected, tolerance)
    np.testing.assert_allclose(result.history, history, rtol=tolerance)


def slope(mixture: jgmm.Mixture, x: np.ndarray, missing: str = "error", prior: Any = None) -> Any:
    """The largest derivative of the objective by what is free of a mixture."""
    family = mixture.family
    growth = jnp.zeros(family.tangent_shape(K, D))

    def objective(log_ratios: jax.Array, shifts: jax.Array, growth: jax.Array) -> jax.Array:
        moved = dataclasses.replace(
            mixture,
            weights=jax.nn.softmax(jnp.log(mixture.weights) + log_ratios),
            means=mixture.means + shifts,
            covariances=family.near(mixture.covariances, growth, mixture.weights, D),
        )
        return jgmm.score(moved, x, missing=missing)

    zero = jnp.zeros(K), jnp.zeros((K, D)), growth
    slopes = program()(jax.grad(objective, (0, 1, 2)))(*zero)
    return max(float(abs(leaf).max()) for leaf in slopes)


# What gaps are does not depend on what variances are.
@pytest.mark.parametrize(("name", "gaps"), [(NAMES[0], False), (NAMES[1], False), (NAMES[0], True)])
def test_fits_climb_to_where_nothing_is_better(name: str, gaps: bool) -> None:
    """Of samples with features missing too, whose likelihood is that of the others."""
    holes = np.random.default_rng(5).random(X.shape) < 0.15 * gaps
    x, missing = np.where(holes, np.nan, X), "nan" if gaps else "error"
    options: dict[str, Any] = {"covariance_type": name, "missing": missing, "init": start(name)}
    # Of plain EM on complete samples the textbook's steps say more.
    best = jgmm.fit(x, K, max_iter=4000, tol=1e-13, accelerate=not gaps, **options)
    assert best.status == jgmm.Status.CONVERGED
    assert (np.diff(best.learning_curve) >= 0).all()
    assert slope(best.mixture, x, missing) < 1e-5
    seen = [
        np.logaddexp.reduce([
            np.log(w) + scipy.stats.multivariate_normal(m[i], c[np.ix_(i, i)]).logpdf(row[i])
            for w, m, c in zip(*textbook(best.mixture), strict=True)
        ])
        for row, i in zip(x, ~np.isnan(x), strict=True)
    ]  # fmt: skip
    found = jgmm.log_prob(best.mixture, x, missing=missing)
    np.testing.assert_allclose(found, seen, rtol=1e-9)
    np.testing.assert_allclose(best.log_likelihood, np.mean(seen), rtol=1e-9)


def test_one_component_of_principal_components_has_a_closed_form() -> None:
    """Tipping and Bishop (1999), from a start by name."""
    result = jgmm.fit(X, 1, covariance_type="ppca", rank=Q, tol=1e-13, reg_covar=0.0)
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    noise = values[:-Q].mean()
    top = vectors[:, -Q:] * np.sqrt(values[-Q:] - noise)
    expected = top @ top.T + noise * np.eye(D)
    np.testing.assert_allclose(textbook(result.mixture).covariances[0], expected, atol=1e-5)
    log_dets = np.log(values[-Q:]).sum() + (D - Q) * np.log(noise)
    known = -0.5 * (D * np.log(2 * np.pi) + log_dets + D)
    np.testing.assert_allclose(result.log_likelihood, known, rtol=1e-10)
    # A matrix of this kind is taken apart exactly.
    ours = Ppca(Q).of_matrices(expected[None])
    np.testing.assert_allclose(Ppca(Q).dense(ours, 1, D)[0], expected, rtol=1e-12)


def test_as_many_factors_as_features_are_full_covariances() -> None:
    result = jgmm.fit(X, 1, covariance_type="factor", rank=D, tol=1e-13, reg_covar=0.0)
    log_det = np.linalg.slogdet(np.cov(X.T, bias=True))[1]
    known = -0.5 * (D * np.log(2 * np.pi) + log_det + D)
    np.testing.assert_allclose(result.log_likelihood, known, rtol=1e-6)
    assert Factor(D).n_parameters(K, D) == K * D * (D + 1) // 2
    assert Factor(Q).n_parameters(K, 50) == K * (50 * Q - 1 + 50)
    for d in (1, 2):  # of a marginal, of fewer features than factors
        assert Factor(5).n_parameters(1, d) == d * (d + 1) // 2
    assert Ppca(Q).n_parameters(K, 50) == K * (50 * Q - 1 + 1)


@for_both
def test_all_that_follows_from_a_mixture_is_as_of_its_matrices(name: str, tmp_path: Path) -> None:
    ours, index, values = start(name), [3, 0], np.array([0.5, -1.0])
    full = dense_of(ours)
    family, covariances = ours.family, jnp.asarray(ours.covariances)
    inverse, _ = family.inverse_root(covariances, D)
    units = jnp.broadcast_to(jnp.eye(D)[:, None], (D, K, D))
    root = jax.vmap(partial(family.apply, family.root(covariances)), out_axes=-1)(units)
    np.testing.assert_allclose(root @ root.swapaxes(1, 2), full.covariances, rtol=1e-12)
    back = jax.vmap(partial(family.apply, inverse), out_axes=-1)(units)
    np.testing.assert_allclose(back @ root, np.array([np.eye(D)] * K), atol=1e-12)
    np.testing.assert_allclose(
        family.variances(covariances, K, D), np.diagonal(full.covariances, 0, 1, 2), rtol=1e-12
    )
    assert_mixtures_close(textbook(jgmm.marginal(ours, index)), jgmm.marginal(full, index), 1e-12)
    given = jgmm.condition(ours, index, values)
    assert given.family == family
    assert_mixtures_close(textbook(given), jgmm.condition(full, index, values), 1e-12)
    np.testing.assert_allclose(jgmm.entropy(ours), jgmm.entropy(full), rtol=1e-12)
    samples, _ = jgmm.sample(ours, 20000)
    direct, _ = jgmm.sample(full, 20000, key=1)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(direct.T), atol=0.5)
    estimator = jgmm.sklearn.from_mixture(ours)
    np.testing.assert_allclose(estimator.score_samples(X), jgmm.log_prob(ours, X), rtol=1e-9)
    jgmm.save(tmp_path / "model", ours)
    loaded = jgmm.load(tmp_path / "model")
    assert loaded == ours
    assert loaded.covariance_type == name
    bare = jgmm.Mixture(ours.weights, ours.means, ours.covariances, name.split("(")[0])  # type: ignore[arg-type]
    assert bare.family == family


def test_priors_and_labels() -> None:
    """The posterior never falls, and its maximum is one of dense algebra too."""
    prior = jgmm.weak_prior(X, K)
    name = NAMES[0]
    labels = np.where(np.arange(N) % 20 == 0, np.arange(N) * K // N, -1)
    result = jgmm.fit(X, K, covariance_type=name, prior=prior, labels=labels, tol=1e-12)
    assert result.status == jgmm.Status.CONVERGED
    assert (np.diff(result.learning_curve) >= 0).all()
    full = dense_of(result.mixture)
    gaps = np.linalg.solve(full.covariances, (full.means - prior.mean)[..., None])[..., 0]
    logs = np.linalg.slogdet(full.covariances)[1]
    traces = np.trace(np.linalg.inv(full.covariances) @ np.asarray(prior.scale), axis1=1, axis2=2)
    lengths = np.sum((full.means - prior.mean) * gaps, axis=1)
    density = -(prior.dof + D + 2) * logs / 2 - traces / 2 - prior.mean_strength * lengths / 2
    expected = result.log_likelihood + np.sum(density) / N
    np.testing.assert_allclose(result.objective, expected, rtol=1e-9)
    # The likelihood is that of samples with what is known of them.
    joint = reference.log_joint(textbook(result.mixture), X)
    some = np.where(labels < 0, np.logaddexp.reduce(joint, axis=1), joint[range(N), labels])
    np.testing.assert_allclose(result.log_likelihood, some.mean(), rtol=1e-9)


@for_both
def test_an_optimizer_comes_as_far(name: str) -> None:
    options: dict[str, Any] = {"covariance_type": name, "init": start(name)}
    best = jgmm.fit(X, K, max_iter=2000, tol=1e-12, **options)
    other = jgmm.fit_gradient(X, K, tol=1e-9, n_steps=3000, **options)
    np.testing.assert_allclose(other.log_likelihood, best.log_likelihood, atol=1e-4)


def test_lanes_of_a_vmap_are_fits() -> None:
    both = np.stack([X, X[::-1] + drawn(4)])

    def one(x: jax.Array) -> jgmm.FitResult:
        begin = start(NAMES[0])
        return jgmm.fit(
            x, K, covariance_type=NAMES[0], init=begin, accelerate=False, max_iter=20, tol=0.0
        )

    lanes = program()(jax.vmap(one))(both)
    for i, x in enumerate(both):
        alone = one(x)
        np.testing.assert_allclose(lanes.log_likelihood[i], alone.log_likelihood, rtol=1e-9)
        np.testing.assert_allclose(lanes.mixture.means[i], alone.mixture.means, rtol=1e-6)


def test_the_derivative_of_a_fit_is_its_finite_difference() -> None:
    """Of what rotations of the factors leave alone."""
    name, rng = NAMES[0], np.random.default_rng(2)
    change, pull = rng.normal(size=X.shape), rng.normal(size=(K, D, D))
    options: dict[str, Any] = {"covariance_type": name, "max_iter": 400, "tol": 0.0}
    options["accelerate"] = False  # which other tests compile too
    best = jgmm.fit(X, K, init=start(name), **options)

    def summary(mixture: jgmm.Mixture) -> Any:
        matrices = mixture.family.dense(mixture.covariances, K, D)
        return (pull * matrices).sum() + (mixture.means * pull[0, 0]).sum()

    step = 1e-3
    up, down = (
        summary(jgmm.fit(X + h * change, K, init=best.mixture, **options).mixture)
        for h in (step, -step)
    )

    found = slope_at_the_end(lambda mixture, _: summary(mixture), best, X, change)
    np.testing.assert_allclose(found, (up - down) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize(
    "x",
    [
        np.ones((N, D)),
        np.repeat(X[:1], 1, axis=0),
        np.repeat(X[:3], 80, axis=0),
        X * np.array([1, 0, 1e-6, 1e6, 1]),
        X + 1e6,
    ],
    ids=["constant", "one sample", "few colours", "scales", "offset"],
)
@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_awkward_data_get_an_answer(x: np.ndarray) -> None:
    result = jgmm.fit(x, 3, covariance_type=NAMES[0], search="none")
    assert result.status != jgmm.Status.NONFINITE
    assert np.isfinite(result.log_likelihood)
    used = np.asarray(result.mixture.weights) > 0
    assert np.isfinite(np.asarray(result.mixture.covariances)[used]).all()


def test_ranks_are_a_part_of_the_name() -> None:
    assert {name.split("(")[0] for name in NAMES} == set(OF_RANK)
    assert family_of("factor(3)") == Factor(3)
    assert with_rank("ppca", 2) == "ppca(2)"
    found = jgmm.sweep_families(X, [1, K], ["diag", NAMES[1]], search="none", max_iter=5, tol=0.0)
    assert set(found.sweeps) == {"diag", NAMES[1]}
    for options, message in (
        ({"covariance_type": "factor"}, "expected factor with a rank"),
        ({"rank": 2}, "rank: expected None but for factor and ppca, got 2 with full"),
        (
            {"covariance_type": "factor(2)", "rank": 3},
            re.escape("rank: expected None with factor(2), which has a rank already, got 3"),
        ),
        ({"covariance_type": "factor", "rank": D + 1}, "at most 5"),
        ({"covariance_type": "factor(0)"}, "a rank of at least 1"),
        ({"covariance_type": "factor", "rank": 3, "init": start(NAMES[0])}, "init: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            jgmm.fit(X, K, **options)  # type: ignore[arg-type]
    uneven = np.ones((K, D, 1 + Q))
    uneven[:, 0, 0] = 2
    with pytest.raises(ValueError, match="of one variance for all features"):
        jgmm.Mixture([0.5, 0.5], X[:K], uneven, NAMES[1])  # type: ignore[arg-type]
    stats, _ = jgmm.e_step(start(NAMES[0]), X)
    for other in ("full", "factor(3)", NAMES[1]):
        with pytest.raises(ValueError, match="covariance_type: expected"):
            jgmm.m_step(start(NAMES[0]), stats, covariance_type=other)


def test_what_factors_cannot_do_is_said() -> None:
    mixture = start(NAMES[0])
    with pytest.raises(ValueError, match="known up to rotations"):
        jgmm.standard_errors(mixture, X)
    with pytest.raises(ValueError, match="partial_fit: expected a family"):
        jgmm.partial_fit(mixture, X)
    with pytest.raises(ValueError, match="passes: expected None with factor"):
        jgmm.fit_stream([X], K, covariance_type=NAMES[0], passes=1)


def test_heavy_tails_of_factors_climb_too() -> None:
    """With degrees of freedom that are estimated, from samples of which some are far out."""
    x = X + np.where(np.arange(N) % 20 == 0, 15.0, 0.0)[:, None]
    result = jgmm.fit(
        x, K, covariance_type=NAMES[0], distribution="student_t", init="kmeans", search="none",
        accelerate=False, max_iter=60, tol=0.0,
    )  # fmt: skip
    assert (np.diff(result.learning_curve) > -1e-12).all()
    mixture = result.mixture
    dense = textbook(mixture).covariances
    parts = zip(mixture.weights, mixture.means, dense, mixture.degrees_of_freedom, strict=True)
    logs = [np.log(w) + scipy.stats.multivariate_t(m, c, v).logpdf(x) for w, m, c, v in parts]
    expected = np.logaddexp.reduce(logs)
    np.testing.assert_allclose(jgmm.log_prob(mixture, x), expected, rtol=1e-9)
    given = jgmm.condition(mixture, [0], [1.0])
    full = dataclasses.replace(mixture, covariances=dense, family="full")
    same = jgmm.condition(full, [0], [1.0])
    assert_mixtures_close(textbook(given), same, 1e-9)
