"""Results in a notebook: short, and saying what matters."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
from examples import K, N, W, X

import jgmm
from jgmm._status import Status
from jgmm.data.programs import program


@pytest.fixture(scope="module")
def fitted() -> jgmm.FitResult:
    with jax.enable_x64(True):
        return jgmm.fit(X, K, weights=W)


def test_a_result_is_a_short_table(fitted: jgmm.FitResult) -> None:
    lines = repr(fitted).splitlines()
    assert lines[0] == "FitResult of 3 full components in 3 dimensions"
    assert lines[1].split() == ["log-likelihood", "BIC", "steps", "status"]
    assert lines[2].split()[-2:] == [str(int(fitted.n_iter)), "CONVERGED"]
    assert lines[3].split() == ["component", "weight", *"mean 0 mean 1 mean 2".split()]
    assert len(lines) == 4 + K
    html = fitted._repr_html_()
    assert html is not None
    assert html.count("<table>") == 2
    assert "CONVERGED" in html
    summary = str(fitted.summary())
    assert "sd 2" in summary
    assert "status CONVERGED" in summary


def test_jupyter_sees_colours_and_curves(fitted: jgmm.FitResult) -> None:
    """Nothing else than the text, but for swatches of what may be colours and learning curves."""
    html = fitted._repr_html_() or ""
    (svg,) = re.findall("<svg.*</svg>", html)
    (path,) = re.findall(r'<path d="([^"]*)" fill="none" stroke="#', svg)
    heights = [float(point.split(",")[1]) for point in path[1:].split("L")]
    assert len(heights) == int(fitted.n_iter) + 1
    assert heights == sorted(heights, reverse=True)  # down the page is less
    assert "currentColor" in svg  # light or dark as the page around
    many = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], fitted)
    criterion = np.zeros((1, 1))
    swept = jgmm.SweepResult(many, np.array([K]), criterion, criterion, criterion)
    html = swept._repr_html_() or ""
    assert html.count("#3a86c8") >= 2  # of the curve, and of its row
    mixture = jgmm.Mixture([0.5, 0.5], [[1, 0.5, 0], [0, 0, 0]], np.ones((2, 3)))
    assert [code in mixture._repr_html_() for code in ("#ff8000", "#000000")] == [True, True]
    assert "#" not in jgmm.Mixture([1.0], [[1, -0.5, 0]], np.ones((1, 3)))._repr_html_()


def test_long_results_are_cut() -> None:
    k, d = 40, 30
    many = jgmm.Mixture(np.ones(k) / k, np.zeros((k, d)), np.ones((k, d)))
    lines = repr(many).splitlines()
    assert len(lines) == 14
    assert lines[-2:] == ["  and 30 more components", "  and 24 more features of each mean"]
    assert len(str(many.summary()).splitlines()) == 2 + k
    part = many.replace(weights=np.r_[1.0, np.zeros(k - 1)])
    assert "40 diag components (39 of weight 0)" in repr(part)


def test_traced_and_batched_results_have_no_table(fitted: jgmm.FitResult) -> None:
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), fitted)
    assert "log_likelihood=float64[2]" in repr(batch)
    assert batch._repr_html_() is None
    shown: list[str] = []
    jax.jit(lambda result: shown.append(repr(result)))(fitted)
    assert shown[0].startswith("FitResult(mixture=Mixture(weights=float64[3]")


def test_the_learning_curve_is_the_history_without_padding(fitted: jgmm.FitResult) -> None:
    curve, n = fitted.learning_curve, int(fitted.n_iter)
    np.testing.assert_array_equal(curve, fitted.history[: n + 1])
    assert np.isfinite(curve).all()
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), fitted)
    with pytest.raises(ValueError, match="learning_curve: expected one fit"):
        _ = batch.learning_curve


def test_criteria_of_a_result_are_those_of_its_pixels(fitted: jgmm.FitResult) -> None:
    np.testing.assert_allclose(fitted.weight, W.sum())
    np.testing.assert_allclose(fitted.bic, jgmm.bic(fitted.mixture, X, W), rtol=1e-9)
    np.testing.assert_allclose(fitted.aic, jgmm.aic(fitted.mixture, X, W), rtol=1e-9)
    assert np.isnan(fitted.replace(weight=None).bic)
    assert len(X) == N


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (Status.MAX_ITER, "raise max_iter"),
        (Status.NONFINITE, "look for NaN"),
        (Status.DEGENERATE, "ask for fewer components"),
    ],
)
def test_what_is_raised_says_what_to_do(
    fitted: jgmm.FitResult, status: Status, advice: str
) -> None:
    fitted.raise_for_status()
    ended = fitted.replace(status=np.int32(status))
    with pytest.raises(RuntimeError, match=f"ended with status {status.name}: .*{advice}"):
        ended.raise_for_status()
    with pytest.raises(TypeError, match="raise_for_status: expected values, got a tracer"):
        jax.jit(lambda result: result.raise_for_status())(ended)


def test_criteria_of_lanes_are_those_of_each() -> None:
    x = np.random.default_rng(2).normal(size=(2, 40, 2))
    options: dict[str, Any] = {"covariance_type": "diag", "search": "none", "max_iter": 3}
    fit = program(once=True)(jax.vmap(lambda x: jgmm.fit(x, 2, tol=0.0, **options)))
    lanes = jax.device_get(fit(x))
    for name in ("bic", "aic"):
        found = getattr(lanes, name)
        for i in range(2):
            alone = getattr(jgmm, name)(
                jax.tree.map(lambda leaf, i=i: leaf[i], lanes.mixture), x[i]
            )
            np.testing.assert_allclose(found[i], alone, rtol=1e-9)
