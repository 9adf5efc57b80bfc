from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from examples import STEPS, K, X, assert_mixtures_close, plain_steps, start

import jgmm
from experiments import chunks

PARTS = np.split(X, 3)


def test_em_over_chunks_is_em_over_everything() -> None:
    first = start("full", X)
    expected = plain_steps(X, first, "full")
    mixture, history = chunks.fit(PARTS, first, STEPS, reg_covar=0.0)
    assert_mixtures_close(mixture, expected.mixture, 1e-8)
    np.testing.assert_allclose(history, expected.history[:STEPS], rtol=1e-9)
    with pytest.raises(ValueError, match="chunks: expected at least one"):
        chunks.fit([], first, 1, 0.0)


def test_k_means_over_chunks_is_lloyds_algorithm() -> None:
    centroids = jnp.asarray(X[:K])
    found = chunks.kmeans(PARTS, centroids, 3)
    for _ in range(3):
        centroids, _ = jgmm.lloyd_step(centroids, X)
    np.testing.assert_allclose(found, centroids, rtol=1e-6)
