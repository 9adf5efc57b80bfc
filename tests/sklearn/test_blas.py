"""Products of NumPy during a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from jgmm.sklearn import BayesianGaussianMixture, GaussianMixture, KMeans, _start


def threads() -> list[int]:
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


@pytest.mark.parametrize("estimator", [BayesianGaussianMixture, GaussianMixture])
def test_a_start_leaves_the_other_cores_alone(
    estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen, draw = threads(), [], _start.draw
    monkeypatch.setattr(_start, "draw", lambda *args: seen.extend(threads()) or draw(*args))
    x = np.random.default_rng(0).normal(size=(200, 2))
    estimator(n_components=2, random_state=0, tol=1e3).fit(x)
    assert seen == [1] * len(before)
    assert threads() == before


def test_so_does_that_of_k_means(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen, find = threads(), [], KMeans._find
    monkeypatch.setattr(KMeans, "_find", lambda *args: seen.extend(threads()) or find(*args))
    KMeans(2, n_init=1, random_state=0).fit(np.random.default_rng(0).normal(size=(200, 2)))
    assert seen == [1] * len(before)
    assert threads() == before
