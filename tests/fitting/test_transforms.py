"""Every public function that computes, under `jax.jit` and `jax.vmap`, against itself alone."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import K, N, overlapping, start

import jgmm
from jgmm.data.programs import program

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
# Two mixtures, sets of pixels and of weights, which a vmap goes over.
MIXTURES, OF_VARIANCES = (
    jax.tree.map(lambda a, b: np.stack([a, b]), start(f, X), start(f, overlapping(seed=5)))
    for f in ("full", "diag")
)
# Whole fits compile faster so.
DIAG: dict[str, Any] = {"covariance_type": "diag"}
PIXELS = np.stack([X, overlapping(seed=5)])
WEIGHTS = np.stack([W, W[::-1]])
KEYS = np.arange(2, dtype=np.uint32)

# Few steps: whole fits under a vmap are a test of their own.
SHORT: dict[str, Any] = {"max_iter": 3, "tol": 0.0}
# k-means and the search, which take long to compile, have tests of their own.
SWEPT: dict[str, Any] = {"init": "random_from_data", "search": "none", **SHORT}


@program(once=True)
def settled(mixture: jgmm.Mixture, x: Any, w: Any) -> jgmm.Mixture:
    """Near the maximum, where there are standard errors."""
    return jax.lax.fori_loop(0, 500, lambda _, m: jgmm.em_step(m, x, w, **DIAG)[0], mixture)


def settled_both() -> jgmm.Mixture:
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], OF_VARIANCES) for i in range(2)]
    ends = [settled(m, x, w) for m, x, w in zip(lanes, PIXELS, WEIGHTS, strict=True)]
    return jax.tree.map(lambda a, b: np.stack([a, b]), *ends)


def variational(mixture: jgmm.Mixture, x: Any, w: Any) -> Any:
    return jgmm.fit_variational(x, K, weights=w, init=mixture, search="none", **SHORT)


@functools.cache
def posterior() -> jgmm.VariationalResult:
    return variational(*jax.tree.map(lambda leaf: leaf[0], (MIXTURES, PIXELS, WEIGHTS)))


def posterior_at(mixture: jgmm.Mixture) -> jgmm.VariationalResult:
    moved = dataclasses.replace(posterior().posterior, means=mixture.means)
    return dataclasses.replace(posterior(), posterior=moved)


PURE: dict[str, Callable[[jgmm.Mixture, Any, Any, Any], Any]] = {
    "aic": lambda m, x, w, seed: jgmm.aic(m, x, w),
    "bic": lambda m, x, w, seed: jgmm.bic(m, x, w),
    "certainty": lambda m, x, w, seed: jgmm.certainty(m, x),
    "condition": lambda m, x, w, seed: jgmm.condition(m, [0], x[0, :1]),
    "e_step": lambda m, x, w, seed: jgmm.e_step(m, x, w),
    "em_step": lambda m, x, w, seed: jgmm.em_step(m, x, w, reg_covar=0.1),
    "entropy": lambda m, x, w, seed: jgmm.entropy(m),
    "fit": lambda m, x, w, seed: jgmm.fit(x, K, weights=w, init=m, **DIAG, **SHORT),
    "fit_gradient": lambda m, x, w, seed: jgmm.fit_gradient(
        x, K, weights=w, init=m, n_steps=3, tol=0.0, **DIAG
    ),
    "fit_variational": lambda m, x, w, seed: variational(m, x, w),
    "icl": lambda m, x, w, seed: jgmm.icl(m, x, w),
    "kl_divergence": lambda m, x, w, seed: jgmm.kl_divergence(
        m, dataclasses.replace(m, means=m.means + w[0]), n=100, key=jax.random.key(seed)
    ),
    "kmeans": lambda m, x, w, seed: jgmm.kmeans(x, K, weights=w, key=jax.random.key(seed)),
    "lloyd_step": lambda m, x, w, seed: jgmm.lloyd_step(m.means, x, w),
    "log_prob": lambda m, x, w, seed: jgmm.log_prob(m, x),
    "m_step": lambda m, x, w, seed: jgmm.m_step(m, jgmm.e_step(m, x, w)[0]),
    "marginal": lambda m, x, w, seed: jgmm.marginal(m, [2, 0]),
    "partial_fit": lambda m, x, w, seed: jgmm.partial_fit(m, x, weights=w, memory=500.0),
    "predict": lambda m, x, w, seed: jgmm.predict(m, x),
    "predictive_log_prob": lambda m, x, w, seed: jgmm.predictive_log_prob(posterior_at(m), x),
    "responsibilities": lambda m, x, w, seed: jgmm.responsibilities(m, x),
    "sample": lambda m, x, w, seed: jgmm.sample(m, 5, key=jax.random.key(seed)),
    "score": lambda m, x, w, seed: jgmm.score(m, x, w),
    "standard_errors": lambda m, x, w, seed: jgmm.standard_errors(m, x, w),
    "sweep": lambda m, x, w, seed: jgmm.sweep(x, [2, K], weights=w, **DIAG, **SWEPT),
    "sweep_families": lambda m, x, w, seed: jgmm.sweep_families(
        x, [2], ["diag"], weights=w, **SWEPT
    ),
    "weak_prior": lambda m, x, w, seed: jgmm.weak_prior(x, K, w),
}
# These work on files, images and devices, from the host.
HOST = {"apply", "load", "load_model", "save", "segment"}
HOST |= {"fit_stream", "keep_programs", "use_all_cores"}


def test_every_public_function_is_here() -> None:
    public = {name for name in jgmm.__all__ if inspect.isfunction(getattr(jgmm, name))}
    assert public == PURE.keys() | HOST


def assert_same(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# `jax.jit` as it is takes longer to compile: a fit, a step and a density stand for the others.
AS_IT_IS = {"fit", "em_step", "log_prob"}


@pytest.mark.parametrize("name", PURE)
def test_jit_is_eager_and_a_vmap_is_its_calls(name: str) -> None:
    function, quickly = PURE[name], program(once=True)
    mixtures = OF_VARIANCES if name in ("fit", "fit_gradient") else MIXTURES
    mixtures = settled_both() if name == "standard_errors" else mixtures
    second = jax.tree.map(lambda leaf: leaf[1], (mixtures, PIXELS, WEIGHTS, KEYS))
    alone = function(*second)
    together = jax.device_get(quickly(jax.vmap(function))(mixtures, PIXELS, WEIGHTS, KEYS))
    assert_same(jax.tree.map(lambda leaf: leaf[1], together), alone)
    jit = jax.jit if name in AS_IT_IS else quickly
    assert_same(jit(function)(*second), alone)
    # NumPy or jax arrays, it is the same.
    assert_same(function(*jax.tree.map(jnp.asarray, second)), alone)


def test_a_tolerance_may_be_traced_where_pixels_are_not() -> None:
    """With restarts too, which then run side by side."""
    options: dict[str, Any] = {"n_restarts": 2, "max_iter": 50, "key": jax.random.key(4)}
    options |= {"init": "random_from_data", "covariance_type": "diag", "search": "none"}

    def fit(tol: Any) -> jgmm.FitResult:
        return jgmm.fit(X, K, tol=tol, **options)

    tols = (1e-2, 1e-7)
    eager = [fit(tol) for tol in tols]
    assert eager[0].n_iter < eager[1].n_iter

    def both(tol: Any) -> tuple[jgmm.FitResult, jgmm.FitResult]:
        return fit(tol), jgmm.sweep(X, [K], tol=tol, **options).fits

    mapped, swept = jax.device_get(program(once=True)(jax.vmap(both))(np.array(tols)))
    for i, expected in enumerate(eager):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
        assert one.n_iter == expected.n_iter
        np.testing.assert_allclose(one.history, expected.history, rtol=1e-9)
        np.testing.assert_allclose(one.mixture.means, expected.mixture.means, rtol=1e-7)
        np.testing.assert_allclose(np.max(swept.objective[i]), expected.objective, rtol=1e-9)
    traced = program(once=True)(fit)(tols[0])
    np.testing.assert_allclose(traced.history, eager[0].history, rtol=1e-9)
