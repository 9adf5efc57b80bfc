"""The derivative of a fit, against finite differences and against the loop unrolled."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import FAMILIES, D, K, N, overlapping, start

import jgmm
from jgmm.data.programs import _QUICK, program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import pose
from jgmm.families.table import family_of
from jgmm.mixture.mixture import standardize
from jgmm.solvers import implicit

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
PRIOR = jgmm.Prior(
    concentration=np.float64(1.5),
    mean=np.array([0.1, 0.2, 0.3]),
    mean_strength=np.float64(3),
    scale=np.eye(D) + 0.2,
    dof=np.float64(7),
)
STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Case:
    """A fit whose derivative is asked for: pixels, weights, reg_covar and prior vary."""

    family: str
    missing: bool = False
    labels: tuple[int, ...] | None = None


def summary(mixture: jgmm.Mixture) -> Any:
    """A number to which every parameter contributes."""
    rng = np.random.default_rng(3)
    leaves = jax.tree.leaves(mixture)
    return sum(jnp.sum(rng.normal(size=leaf.shape) * leaf) for leaf in leaves)


@program("case")
def fixed_point(case: Case, mixture: jgmm.Mixture, given: Any) -> jgmm.Mixture:
    """EM until nothing moves, by the loop that needs no rule."""
    x, w, reg, prior = given
    labels = None if case.labels is None else jnp.asarray(case.labels, jnp.int32)
    rows = Rows(features=x, weights=w, labels=labels)
    raw = make_samples(rows, 256, incomplete=case.missing)
    problem = pose(raw, family_of(case.family), jnp.full(D, reg), prior)
    inner = standardize(mixture, problem.frame)
    return problem.unstandardize(
        jax.lax.fori_loop(0, 3000, lambda _, point: problem.step(point)[0], inner)
    )


def fitted(case: Case, init: jgmm.Mixture, given: Any) -> jgmm.FitResult:
    """A fit from a point that is a solution already."""
    x, w, reg, prior = given
    return jgmm.fit(
        x,
        K,
        weights=w,
        init=init,
        covariance_type=case.family,
        max_iter=2,
        tol=0.0,
        reg_covar=reg,
        accelerate=False,
        prior=prior,
        missing="nan" if case.missing else "error",
        labels=None if case.labels is None else np.array(case.labels),
    )


def solution(case: Case, given: Any) -> jgmm.Mixture:
    return fixed_point(case, start(case.family, X), given)


def directions(given: Any) -> list[Any]:
    """One change of each thing given, all others as they are."""
    rng = np.random.default_rng(2)
    zero = jax.tree.map(lambda leaf: np.zeros_like(np.asarray(leaf)), given)
    changes = []
    for i, leaf in enumerate(given):
        if leaf is not None:
            change = jax.tree.map(lambda leaf: rng.uniform(0.5, 1, size=np.shape(leaf)), leaf)
            if isinstance(change, jgmm.Prior):
                change = dataclasses.replace(change, scale=change.scale + change.scale.T)
            changes.append((*zero[:i], change, *zero[i + 1 :]))
    return changes


@program("case", once=True)
def along(case: Case, init: jgmm.Mixture, given: Any, change: Any) -> Any:
    """The derivative of a fit from ``init``: of a number of its mixture and of its likelihood.

    With a prior of the fixed point itself, which the fit leaves it to; else through the fit.
    """

    def found(given: Any) -> Any:
        x, w, reg, prior = given
        if prior is None:
            result = fitted(case, init, given)
            return summary(result.mixture), result.log_likelihood
        rows = Rows(features=x, weights=w)
        known = implicit.Given(rows=rows, floor=jnp.full(D, reg), prior=prior)
        mixture, value = implicit.attach(init, jnp.zeros(()), None, known, incomplete=False)
        return summary(mixture), value

    return jax.jvp(found, (given,), (change,))[1]


@program("plain", once=True)
def judged(mixture: jgmm.Mixture, given: Any, plain: bool) -> Any:
    """The same of a fixed point; the likelihood of complete samples alone."""
    value = jgmm.score(mixture, given[0], given[1]) if plain else jnp.zeros(())
    return summary(mixture), value


def check(case: Case, given: Any, forward: bool = False) -> None:
    """In programs, which compile faster than what is differentiated outside of one."""
    best = solution(case, given)
    plain = not (case.missing or case.labels)

    def by_hand(given: Any) -> Any:
        return np.array(judged(fixed_point(case, best, given), given, plain))

    for change in directions(given):
        actual = along(case, best, given, change)
        at = [
            jax.tree.map(lambda a, b, h=h: a + h * b, given, change)
            for h in (np.array([1, 2]) if forward else np.array([1, -1])) * STEP
        ]
        if forward:
            expected = (4 * by_hand(at[0]) - by_hand(at[1]) - 3 * by_hand(given)) / (2 * STEP)
        else:
            expected = (by_hand(at[0]) - by_hand(at[1])) / (2 * STEP)
        tolerance = 1e-5 * np.abs(expected).max() + 1e-8
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5, atol=tolerance)
        if plain:
            np.testing.assert_allclose(actual[1], expected[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_derivatives_are_finite_differences(family: str) -> None:
    """By pixels, weights, reg_covar and prior, where the floor holds some directions."""
    given = (X, W, np.float64(0.3), PRIOR)
    floor = 0.3 * np.average((X - np.average(X, 0, W)) ** 2, 0, W)
    if family == "spherical":
        given = (X, W, np.float64(0.5), PRIOR)
        floor = np.full(D, 0.5 * np.mean(floor / 0.3))
    found = solution(Case(family), given).covariances
    found = found if found.ndim == 3 else np.stack([np.diag(row) for row in found * np.ones(D)])
    lowest = np.linalg.eigvalsh(found / np.sqrt(floor[:, None] * floor)).min(axis=1)
    assert np.isclose(lowest, 1).any()
    check(Case(family), given)


def test_derivatives_of_the_plain_fit_even_by_weights_of_zero() -> None:
    weights = np.where(np.arange(N) % 7 == 0, 0, W)
    check(Case("diag"), (X, weights, np.float64(1e-6), None), forward=True)


def test_derivatives_with_missing_features_and_labels() -> None:
    gaps = np.where(np.random.default_rng(4).uniform(size=X.shape) < 0.1, np.nan, X)
    labels = np.full(N, -1)
    labels[:9] = np.arange(9) % K
    check(Case("diag", missing=True, labels=tuple(labels.tolist())), (gaps, W, 1e-3, None))


def test_gradients_are_those_of_the_unrolled_loop_and_of_jvp() -> None:
    """And a program is as what is eager, and what a vmap gives are gradients."""
    best = solution(Case("diag"), (X, W, 1e-6, None))

    def loss(x: Any, w: Any) -> Any:
        result = fitted(Case("diag"), best, (x, w, 1e-6, None))
        return summary(result.mixture) + result.log_likelihood

    def unrolled(x: Any, w: Any) -> Any:
        def step(mixture: jgmm.Mixture, _: None) -> tuple[jgmm.Mixture, None]:
            return jgmm.em_step(mixture, x, w, covariance_type="diag")[0], None

        mixture, _ = jax.lax.scan(step, best, None, length=300)
        return summary(mixture) + jgmm.score(mixture, x, w)

    expected = program(once=True)(jax.grad(unrolled, (0, 1)))(X, W)
    gradient = jax.grad(loss, (0, 1))
    batch = program(once=True)(jax.vmap(gradient))(np.stack([X, X[::-1]]), np.stack([W, W[::-1]]))
    actual = [leaf[0] for leaf in batch]
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * np.abs(b).max())
    dx, dw = overlapping(seed=8), W[::-1]
    _, forward = jax.jvp(loss, (X, W), (dx, dw))
    np.testing.assert_allclose(np.sum(actual[0] * dx) + actual[1] @ dw, forward, rtol=1e-9)
    for a, b in zip(batch, actual, strict=True):
        np.testing.assert_allclose(a[1], b[::-1], rtol=1e-6, atol=1e-8)


def test_memory_does_not_grow_with_the_iterations() -> None:
    init = start("spherical", X)

    def temporary(max_iter: int) -> int:
        def mean(x: Any) -> Any:
            options: dict[str, Any] = {"covariance_type": "spherical", "accelerate": False}
            result = jgmm.fit(x, K, init=init, max_iter=max_iter, **options)
            return result.mixture.means[0, 0]

        compiled = jax.jit(jax.grad(mean)).lower(X).compile(_QUICK)
        return int(compiled.memory_analysis().temp_size_in_bytes)

    history = 8 * 8192
    assert temporary(5000) <= temporary(50) + 2 * history


def test_unused_components_do_not_move() -> None:
    best = solution(Case("diag"), (X, W, 1e-6, None))
    wider = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:1]]), best)
    wider = dataclasses.replace(wider, weights=np.append(best.weights, 0))
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 2, "tol": 0.0}

    def fit(x: Any, k: int, init: jgmm.Mixture) -> Any:
        return jgmm.fit(x, k, weights=W, init=init, accelerate=False, **options).mixture

    @program(once=True)
    def both(x: Any, change: Any) -> Any:
        return jax.jvp(lambda x: (fit(x, K, best), fit(x, K + 1, wider)), (x,), (change,))[1]

    alone, beside = both(X, overlapping(seed=9))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True):
        np.testing.assert_allclose(b[:K], a, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(b[K], 0)


def test_what_is_no_part_of_the_fixed_point_has_derivative_zero() -> None:
    init = start("diag", X)

    def fit(tol: Any, init: jgmm.Mixture) -> Any:
        result = jgmm.fit(X, K, init=init, covariance_type="diag", tol=tol, max_iter=5)
        return result.mixture, result.log_likelihood, result.history

    _, changes = jax.jvp(fit, (1e-6, init), (1.0, init))
    assert all(np.all(np.nan_to_num(leaf) == 0) for leaf in jax.tree.leaves(changes))


def test_equations_without_a_solution_give_nan() -> None:
    singular = jnp.diag(jnp.array([1.0, 0.5, 0.0]))
    solve = partial(implicit._residuals, lambda v: singular @ v)
    np.testing.assert_allclose(solve(jnp.array([2.0, 2.0, 0.0])), [2, 4, 0], rtol=1e-10)
    assert np.isnan(solve(jnp.ones(3))).all()
    np.testing.assert_array_equal(solve(jnp.zeros(3)), 0)
