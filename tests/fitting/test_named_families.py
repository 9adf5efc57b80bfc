"""The family that was asked for is that of the result, where shapes tell several alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from examples import FAMILIES, X, assert_mixtures_close, plain

import jgmm
from jgmm.data.programs import program

# One component and one feature: all that shapes can tell are matrices from variances.
ONE = X[:, :1]
OPTIONS: dict[str, Any] = {"max_iter": 2, "tol": 0.0}


def fit(x: Any, k: int, family: str, **options: Any) -> jgmm.FitResult:
    means = np.asarray(X[:k, : x.shape[-1]])
    return jgmm.fit(x, k, init=means, covariance_type=family, **OPTIONS, **options)


CASES = [(X, 1, "tied"), (ONE, 2, "diag"), (ONE, 1, "spherical"), (ONE, 2, "spherical")]
NAMES = [f"{family}, K = {k}, D = {x.shape[1]}" for x, k, family in CASES]


@pytest.mark.parametrize(("x", "k", "family"), CASES, ids=NAMES)
def test_it_is_named(x: np.ndarray, k: int, family: str, tmp_path: Path) -> None:
    """By the result, and by whatever is made of it."""
    mixture = fit(x, k, family).mixture
    assert mixture.covariance_type == family
    jgmm.save(tmp_path / "x.safetensors", mixture)
    loaded = jgmm.load(tmp_path / "x.safetensors")
    assert loaded.covariance_type == family
    assert jax.tree.structure(loaded) == jax.tree.structure(mixture)
    again = jgmm.fit(x, k, init=loaded, covariance_type=family, **OPTIONS)
    assert again.mixture.covariance_type == family


@pytest.mark.parametrize(("x", "k", "family"), CASES[:1], ids=NAMES[:1])
def test_it_is_named_under_transformations(x: np.ndarray, k: int, family: str) -> None:
    """Without compiling anything: a family is a part of the structure.

    Whatever took it from the shape would take this one for another.
    """

    def fitted(x: Any) -> jgmm.Mixture:
        return fit(x, k, family).mixture

    for function, argument in (
        (jax.jit(jax.vmap(jax.jit(fitted))), np.stack([x, x])),
        (lambda x: jax.jvp(fitted, (x,), (x,))[1], x),
        (lambda x: jgmm.fit_gradient(x, k, init=x[:k], covariance_type=family).mixture, x),
        (lambda x: jgmm.em_step(fitted(x), x, covariance_type=family)[0], x),
        (lambda x: jgmm.sweep(x, [k, 3], covariance_type=family, **OPTIONS).fits.mixture, x),
    ):
        assert jax.eval_shape(function, argument).covariance_type == family


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_it_is_named_by_a_sweep(family: str) -> None:
    """Of several numbers of components, one of them 1, and of several families."""
    options: dict[str, Any] = {"init": "random_from_data", **OPTIONS}
    swept = jgmm.sweep_families(ONE, [1, 2], [family], **options)[family]
    for k in (1, 2):
        assert swept[k].mixture.covariance_type == family
        assert swept[k].mixture.n_components == k
    assert swept.best().mixture.covariance_type == family


def test_jit_and_vmap_give_the_tied_mixture_itself() -> None:
    expected = fit(X, 1, "tied").mixture
    together = program(once=True)(jax.vmap(lambda x: fit(x, 1, "tied").mixture))
    batch = together(np.stack([X, X]))
    assert batch.covariance_type == "tied"
    for i in (0, 1):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
        assert one.covariances.shape == (1, 3, 3)
        assert_mixtures_close(one, expected, 1e-9)


def test_of_one_component_or_feature_the_families_agree() -> None:
    full, tied = (fit(X, 1, family).mixture for family in ("full", "tied"))
    assert_mixtures_close(tied, plain(full), 1e-9)
    diag, spherical = (fit(ONE, 2, family).mixture for family in ("diag", "spherical"))
    assert_mixtures_close(spherical, plain(diag), 1e-9)
    # They differ in what they say of themselves, and only in that.
    named = dataclasses.replace(spherical, family=diag.family)
    assert jax.tree.structure(named) == jax.tree.structure(diag)
    assert jax.tree.structure(spherical) != jax.tree.structure(diag)
