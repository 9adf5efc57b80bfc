"""Conversions to other libraries' mixtures and back; skipped where a library is not installed."""

from __future__ import annotations

import builtins
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import FAMILIES, K, overlapping, start

import jgmm
from jgmm.mixture import conversions as interop

X = overlapping()[:20]
WAYS = {
    "numpyro": (interop.to_numpyro, interop.from_numpyro),
    "tfp": (interop.to_tfp, interop.from_tfp),
}
MODULES = {"numpyro": "numpyro", "tfp": "tensorflow_probability.substrates"}


@pytest.fixture(params=WAYS)
def name(request: pytest.FixtureRequest) -> Any:
    """A library that is installed, in peace with its warnings and its mixing of dtypes."""
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        try:
            interop._numpyro() if request.param == "numpyro" else interop._tfp()
        except ImportError as error:
            pytest.skip(str(error))
        yield request.param


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back(name: str, family: str) -> None:
    there, back = WAYS[name]
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    unused = jnp.asarray([0.4, 0.0, 0.6])
    for one in (mixture, dataclasses.replace(mixture, weights=unused)):
        distribution = there(one)
        assert distribution.event_shape == (3,)
        expected = jgmm.log_prob(one, X)
        np.testing.assert_allclose(distribution.log_prob(jnp.asarray(X)), expected, atol=1e-6)
        again = back(distribution)
        assert again.covariance_type == family
        np.testing.assert_allclose(jgmm.log_prob(again, X), expected, atol=1e-9)
        for before, after in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(after, before, atol=1e-12)


def test_under_jit(name: str) -> None:
    there, back = WAYS[name]
    mixture = jax.tree.map(jnp.asarray, start("full", X))
    traced = jax.jit(lambda m: back(there(m)))(mixture)
    np.testing.assert_allclose(traced.covariances, mixture.covariances, rtol=1e-12)
    density = jax.jit(lambda m, x: there(m).log_prob(x))(mixture, jnp.asarray(X))
    np.testing.assert_allclose(density, jgmm.log_prob(mixture, X), atol=1e-6)


def test_foreign_mixtures(name: str) -> None:
    back = WAYS[name][1]
    lib: Any = interop._numpyro() if name == "numpyro" else interop._tfp()
    means, ones = jnp.zeros((K, 2)), jnp.ones((K, 2))
    mixing = lib.Categorical(logits=jnp.log(jnp.array([0.2, 0.3, 0.5])))
    normal: Callable[..., Any] = lib.Normal
    parts = normal(means, ones).to_event(1) if name == "numpyro" else lib.Independent(
        normal(means, ones), 1
    )  # fmt: skip
    found = back(lib.MixtureSameFamily(mixing, parts))
    assert found.covariance_type == "diag"
    np.testing.assert_allclose(found.weights, [0.2, 0.3, 0.5], rtol=1e-12)
    gamma = lib.Gamma(ones, ones)
    gammas = gamma.to_event(1) if name == "numpyro" else lib.Independent(gamma, 1)
    with pytest.raises(TypeError, match="expected components .*got .*Independent"):
        back(lib.MixtureSameFamily(mixing, gammas))
    with pytest.raises(TypeError, match="expected .*MixtureSameFamily, got .*Normal"):
        back(normal(0.0, 1.0))
    if name == "tfp":
        whole = lib.MultivariateNormalDiag(means, 2 * ones)
        np.testing.assert_allclose(back(lib.MixtureSameFamily(mixing, whole)).covariances, 4 * ones)


@pytest.mark.parametrize("name", WAYS)
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = builtins.__import__

    def absent(module: str, *arguments: Any, **options: Any) -> Any:
        if module.startswith(MODULES[name]):
            raise ImportError(module)
        return found(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match="to be installed: pip install"):
        WAYS[name][0](start("full", X))
