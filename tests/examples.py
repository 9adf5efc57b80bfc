"""Data and starts that many tests share, so that they share compiled programs too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import reference

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows
from jgmm.solvers.implicit import Given, attach

# Up to 256 samples are padded to one length, so all of N <= 256 is one program.
N, D, K = 240, 3, 3
FAMILIES = ("full", "tied", "diag", "spherical")
DTYPES = (np.float32, np.float64)
# Results agree with float64 to so much, relative to numbers of order one.
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}


def overlapping(seed: int = 0, n: int = N, d: int = D, k: int = K) -> np.ndarray:
    """[n, d] draws from k correlated Gaussians that overlap, so that EM takes many steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    factors = rng.normal(size=(k, d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    centers = 1.5 * rng.normal(size=(k, d))
    return centers[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n, d)))


def start(family: str, x: np.ndarray, k: int = K) -> jgmm.Mixture:
    """A rough mixture of the family for x, in float64, in which no two components are alike."""
    d = x.shape[1]
    rng = np.random.default_rng(7)
    weights = np.arange(2.0, k + 2)
    means = x.mean(0) + x.std(0) * rng.normal(size=(k, d))
    sizes = np.linspace(0.5, 1.0, k)
    scatter = np.cov(x.T).reshape(d, d)
    covariances = {
        "full": sizes[:, None, None] * scatter,
        "tied": 0.6 * scatter[None],
        "diag": sizes[:, None] * np.diag(scatter),
        "spherical": sizes[:, None] * np.trace(scatter) / d,
    }[family]
    return jgmm.Mixture(weights=weights / weights.sum(), means=means, covariances=covariances)


def cast(tree: Any, dtype: Any) -> Any:
    """All arrays of a mixture, or one array, as NumPy arrays of a dtype."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def plain(mixture: jgmm.Mixture) -> reference.Gmm:
    """The mixture as the reference has it: float64, one full matrix per component."""
    k, d = mixture.means.shape
    c = np.asarray(mixture.covariances, np.float64)
    if c.ndim == 2:
        c = np.array([np.diag(row) for row in np.broadcast_to(c, (k, d))])
    return reference.Gmm(
        np.asarray(mixture.weights, np.float64),
        np.asarray(mixture.means, np.float64),
        np.array(np.broadcast_to(c, (k, d, d))),
    )


def assert_mixtures_close(
    actual: jgmm.Mixture | reference.Gmm, expected: jgmm.Mixture | reference.Gmm, tolerance: float
) -> None:
    """Weights, means and covariances agree, relative to the size of the components."""
    a = plain(actual) if isinstance(actual, jgmm.Mixture) else actual
    b = plain(expected) if isinstance(expected, jgmm.Mixture) else expected
    size = np.sqrt(np.max(np.abs(b.covariances)))
    np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=tolerance)
    np.testing.assert_allclose(a.means / size, b.means / size, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        a.covariances / size**2, b.covariances / size**2, rtol=0, atol=tolerance
    )


# Programs take seconds to compile. All tests of `fit` with up to 256 pixels in 3 features and 3
# components share one for each family, dtype, start and acceleration.
X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
STEPS = 15


def plain_steps(
    x: np.ndarray, mixture: jgmm.Mixture, family: str, **options: Any
) -> jgmm.FitResult:
    """So many steps of plain EM from a given mixture."""
    given = {"max_iter": STEPS, "tol": 0.0, "reg_covar": 0.0, "accelerate": False} | options
    return jgmm.fit(x, K, init=mixture, covariance_type=family, **given)


def assert_derivatives_are_right(
    function: Callable[..., Any], arguments: Any, rtol: float, order: int = 1
) -> None:
    """Forwards and backwards they are finite differences; of order 2, those of a gradient.

    One program has all of them, where `jax.test_util.check_grads` compiles four or more.
    """
    rng = np.random.default_rng(11)
    ways = [
        jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), arguments) for _ in range(order)
    ]

    def number(arguments: Any) -> jax.Array:
        values = function(*arguments)
        return jnp.sum(values * np.linspace(1, 2, values.size).reshape(values.shape))

    def along(arguments: Any) -> jax.Array:
        if order == 1:
            return number(arguments)
        products = jax.tree.map(jnp.vdot, ways[1], jax.grad(number)(arguments))
        return sum(jax.tree.leaves(products))

    @program(once=True)
    def everything(arguments: Any) -> Any:
        value, slope = jax.value_and_grad(along)(arguments)
        _, forwards = jax.jvp(along, (arguments,), (ways[0],))
        return value, slope, forwards

    step = 1e-5
    there, back = (
        everything(jax.tree.map(lambda leaf, way, h=h: leaf + h * way, arguments, ways[0]))[0]
        for h in (step, -step)
    )
    _, slope, forwards = everything(arguments)
    backwards = sum(
        np.vdot(way, leaf)
        for way, leaf in zip(jax.tree.leaves(ways[0]), jax.tree.leaves(slope), strict=True)
    )
    assert abs(forwards) > 1e-3
    np.testing.assert_allclose(forwards, (there - back) / (2 * step), rtol=rtol)
    np.testing.assert_allclose(backwards, forwards, rtol=1e-9)


def slope_at_the_end(
    function: Callable[..., Any], end: jgmm.FitResult, x: Any, way: Any, weights: Any = None
) -> Any:
    """The derivative by the samples along ``way`` of ``function(mixture, log_likelihood)``.

    As `jgmm.fit` has it where EM has come to its fixed point; one program, without the fit.
    """
    weights = np.ones(len(x)) if weights is None else weights

    @program()
    def along(x: Any, way: Any) -> Any:
        still = jax.tree.map(jnp.zeros_like, end.mixture)

        def attached(x: Any) -> Any:
            rows = Rows(features=x, weights=jnp.asarray(weights))
            given = Given(rows=rows, floor=jnp.full(x.shape[1], 1e-6), prior=None)
            ends = end.mixture, end.log_likelihood
            return function(*attach(*ends, still, given, incomplete=False))

        return jax.jvp(attached, (x,), (way,))[1]

    return along(x, way)


@contextmanager
def heard(event: str) -> Iterator[list[str]]:
    """The names of the functions of which JAX tells such an event meanwhile."""
    names: list[str] = []

    def note(key: str, duration_secs: float, **about: str | int) -> None:
        if key.endswith(event):
            names.append(str(about.get("fun_name", key)))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def finite(tree: Any) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def assert_history_is_right(result: jgmm.FitResult, max_iter: int) -> None:
    history, n = np.asarray(result.history), int(result.n_iter)
    assert history.shape == (max_iter + 1,)
    assert n <= max_iter
    assert np.isfinite(history[: n + 1]).all()
    assert np.isnan(history[n + 1 :]).all()
    # All are turned into the data's units, each in a program of its own.
    np.testing.assert_array_max_ulp(history[n], np.asarray(result.log_likelihood), 2)
    np.testing.assert_array_max_ulp(history[n], np.asarray(result.objective), 2)
    assert (np.diff(history[: n + 1]) >= 0).all()
