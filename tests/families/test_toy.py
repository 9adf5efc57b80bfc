"""A family that is known to nobody but one line of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import D, K, X, plain
from jax import Array

import jgmm
from jgmm.data.programs import program
from jgmm.families import table
from jgmm.families.variances import Diag

N = len(X)


class Toy(Diag):
    """Variances of which the first two features share one."""

    name = "toy"
    conjugate = False

    def n_parameters(self, k: int, d: int) -> int:
        """One fewer for each component."""
        return k * (d - 1)

    def pool(self, spreads: Array) -> Array:
        """What is shared is the mean."""
        mean = jnp.mean(spreads[:, :2], axis=1, keepdims=True)
        return jnp.concatenate([mean, mean, spreads[:, 2:]], axis=1)


@pytest.fixture(autouse=True)
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.FAMILIES, "toy", Toy())


def test_a_new_family_needs_no_change_elsewhere(tmp_path: Path) -> None:
    options: dict[str, Any] = {"covariance_type": "toy", "tol": 1e-12, "search": "none"}
    result = jgmm.fit(X, K, **options)
    mixture = result.mixture
    assert result.status == jgmm.Status.CONVERGED
    assert mixture.covariance_type == "toy"
    assert mixture.covariances.shape == (K, D)
    scale = X.var(axis=0)  # what is shared is shared in the frame, where features vary by 1
    np.testing.assert_allclose(
        mixture.covariances[:, 0] / scale[0], mixture.covariances[:, 1] / scale[1], rtol=1e-9
    )
    exact = plain(mixture)
    np.testing.assert_allclose(
        result.log_likelihood, reference.score(exact, X, np.ones(N)), rtol=1e-9
    )
    np.testing.assert_array_equal(
        jgmm.predict(mixture, X), reference.responsibilities(exact, X).argmax(1)
    )
    parameters = K * D + K - 1 + K * (D - 1)
    bic = -2 * N * float(result.log_likelihood) + parameters * np.log(N)
    np.testing.assert_allclose(jgmm.bic(mixture, X), bic, rtol=1e-9)
    swept = jgmm.sweep_families(X, [K], ["toy", Toy().wide.name], tol=1e-12, search="none")
    np.testing.assert_array_equal(swept["toy"][K].mixture.means, mixture.means)
    jgmm.save(tmp_path / "model", mixture)
    assert jgmm.load(tmp_path / "model").covariance_type == "toy"
    # By the envelope theorem that of the score, where the mixture stays.
    way = np.random.default_rng(2).normal(size=X.shape)
    _, slope = jax.jvp(lambda x: jgmm.fit(x, K, **options).log_likelihood, (X,), (way,))
    direct = program()(jax.grad(lambda x: jgmm.score(mixture, x)))(X)
    np.testing.assert_allclose(slope, np.sum(direct * way), atol=1e-6)


def test_what_it_is_not_made_for_is_said() -> None:
    with pytest.raises(ValueError, match="expected one of full, tied, diag, spherical"):
        jgmm.fit_variational(X, K, covariance_type="toy")
    with pytest.raises(ValueError, match="expected one of .*toy.*; got 'tiy'"):
        jgmm.fit(X, K, covariance_type="tiy")
