"""What holds for every `fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import (
    DTYPES,
    FAMILIES,
    STEPS,
    D,
    K,
    N,
    W,
    X,
    assert_history_is_right,
    assert_mixtures_close,
    cast,
    finite,
    overlapping,
    plain,
    plain_steps,
    start,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import jgmm
from jgmm import Status
from jgmm.fitting import derivative


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.floats(-3, 3), offset=st.floats(-10, 10))
def test_the_result_is_what_it_says(family: str, seed: int, exponent: float, offset: float) -> None:
    for dtype in DTYPES:
        x = cast(10**exponent * (overlapping(seed) + offset), dtype)
        result = jgmm.fit(x, K, weights=cast(W, dtype), covariance_type=family)
        assert result.mixture.covariance_type == family
        assert_history_is_right(result, 500)
        np.testing.assert_allclose(result.mixture.weights.sum(), 1, rtol=1e-6)
        # The spread in units of its noise is up to 30, of which float32 has the square's digits.
        tolerance = 1e-9 if dtype == np.float64 else 3e-6
        np.testing.assert_allclose(
            result.log_likelihood,
            jgmm.score(result.mixture, x, cast(W, dtype)),
            rtol=tolerance,
            atol=tolerance,
        )


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_never_falls(family: str, accelerate: bool) -> None:
    """The history says so by construction; here the mixtures after 0, 1, 2, … steps say it."""
    x = overlapping(seed=3)
    if not accelerate:
        mixture = start(family, x)
        results = [plain_steps(x, mixture, family, max_iter=n) for n in range(11)]
    else:
        options: dict[str, Any] = {"covariance_type": family, "tol": 0, "search": "none"}
        results = [jgmm.fit(x, K, max_iter=n, **options) for n in range(11)]
    scores = np.array([jgmm.score(result.mixture, x) for result in results])
    assert np.diff(scores).min() > -1e-13 * np.abs(scores).max()
    assert scores[-1] > scores[0]
    np.testing.assert_allclose(results[-1].history, scores, rtol=1e-12)


def test_the_history_starts_with_the_start() -> None:
    mixture = start("full", X)
    result = plain_steps(X, mixture, "full", max_iter=0)
    assert result.history.shape == (1,)
    assert result.n_iter == 0
    assert result.status == Status.MAX_ITER
    assert_mixtures_close(result.mixture, mixture, 1e-12)
    np.testing.assert_allclose(result.history[0], jgmm.score(mixture, X), rtol=1e-12)


def hard_clusters(x: np.ndarray, labels: np.ndarray) -> reference.Gmm:
    return reference.m_step(x, np.eye(K)[labels], "full", np.zeros(x.shape[1]))


def test_it_starts_from_k_means() -> None:
    """On standardised features: shares, means and covariances of the clusters."""
    result = jgmm.fit(X, K, max_iter=0)
    clusters = jgmm.kmeans((X - X.mean(0)) / X.std(0), K)
    expected = hard_clusters(X, np.asarray(clusters.labels))
    assert_mixtures_close(result.mixture, expected, 1e-9)


@pytest.mark.parametrize("family", ["full", "spherical"])
def test_one_component_has_a_closed_form(family: str) -> None:
    """From its own start; of all families one step is tested in test_em.py."""
    result = jgmm.fit(X, 1, weights=W, covariance_type=family)
    mean = np.average(X, axis=0, weights=W)
    scatter = (W[:, None] * (X - mean)).T @ (X - mean) / W.sum()
    expected = scatter if family == "full" else np.trace(scatter) / D * np.eye(D)
    assert result.status == Status.CONVERGED
    assert result.n_iter <= 2
    np.testing.assert_allclose(result.mixture.means[0], mean, atol=1e-9)
    np.testing.assert_allclose(plain(result.mixture).covariances[0], expected, atol=1e-9)


SHIFTED, SMALLER, LARGER = (np.full(D, 1e4), 1.0), (np.zeros(D), 1e-3), (np.zeros(D), 1e3)
# Not for spheres, which do not stay spheres then.
EACH_OTHERWISE = (np.array([1e4, -3.0, 0.0]), np.array([1e3, 1e-3, 1.0]))


@pytest.mark.parametrize(
    ("family", "change"),
    [(family, change) for family in FAMILIES for change in (SHIFTED, SMALLER, LARGER)]
    + [(family, EACH_OTHERWISE) for family in FAMILIES[:3]],
)
def test_shift_and_scale_are_followed(
    family: str, change: tuple[np.ndarray, float | np.ndarray]
) -> None:
    offset, scale = change
    # In an order of their own: of runs to one optimum rounding says which goes on.
    options: dict[str, Any] = {"covariance_type": family, "order": "weight"}
    base = jgmm.fit(X, K, **options)
    moved = jgmm.fit(X * scale + offset, K, **options)
    # Digits that an offset of 10,000 takes from numbers of order 1, or of 1e-3.
    tolerance = 1e-7
    back = plain(moved.mixture)
    scales = np.broadcast_to(scale, (D,))
    back = reference.Gmm(
        back.weights, (back.means - offset) / scales, back.covariances / np.outer(scales, scales)
    )
    assert_mixtures_close(back, base.mixture, tolerance)
    np.testing.assert_allclose(
        moved.log_likelihood, base.log_likelihood - np.log(scales).sum(), rtol=tolerance
    )
    assert moved.n_iter == base.n_iter


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("offset", "scale"), [(2.0**13, 1.0), (0.0, 2.0**10), (0.0, 2.0**-10)])
def test_shift_and_scale_are_followed_in_float32(family: str, offset: float, scale: float) -> None:
    """By steps that change no digit of the data: whatever differs, the fit has made."""
    grid = cast(np.round(X * 512) / 512, np.float32)
    moved = grid * np.float32(scale) + np.float32(offset)
    np.testing.assert_array_equal((moved - np.float32(offset)) / np.float32(scale), grid)
    mixture = cast(start(family, X), np.float32)
    other = jgmm.Mixture(
        weights=mixture.weights,
        means=np.round(mixture.means * 512) / 512,
        covariances=mixture.covariances,
    )
    base = plain_steps(grid, other, family)
    result = plain_steps(
        moved,
        dataclasses.replace(
            other,
            means=other.means * np.float32(scale) + np.float32(offset),
            covariances=other.covariances * np.float32(scale) ** 2,
        ),
        family,
    )
    np.testing.assert_allclose(
        result.log_likelihood, float(base.log_likelihood) - D * np.log(scale), rtol=1e-6
    )
    back = plain(result.mixture)
    ulp = np.spacing(np.float32(offset))
    np.testing.assert_allclose(
        (back.means - offset) / scale, base.mixture.means, atol=1e-5 + 2 * ulp
    )
    np.testing.assert_allclose(
        back.covariances / scale**2, plain(base.mixture).covariances, atol=1e-5
    )


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_integer_weights_are_repetitions(seed: int) -> None:
    counts = np.random.default_rng(seed).multinomial(N, np.ones(150) / 150)
    mixture = start("full", X)
    weighted = plain_steps(X[:150], mixture, "full", weights=counts)
    repeated = plain_steps(np.repeat(X[:150], counts, axis=0), mixture, "full")
    assert_mixtures_close(weighted.mixture, repeated.mixture, 1e-8)
    np.testing.assert_allclose(weighted.history, repeated.history, rtol=1e-9)


def test_many_blocks_are_one_sum() -> None:
    """9,600 pixels, 40 times the same 240."""
    mixture = start("full", X)
    many = plain_steps(np.tile(X, (40, 1)), mixture, "full")
    once = plain_steps(X, mixture, "full")
    assert_mixtures_close(many.mixture, once.mixture, 1e-9)
    np.testing.assert_allclose(many.history, once.history, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_of_weight_zero_do_not_count(family: str) -> None:
    few = X[:200]
    junk = np.concatenate([few, np.full((40, D), 1e6)])
    weights = np.r_[W[:200], np.zeros(40)]
    ours = jgmm.fit(junk, K, weights=weights, covariance_type=family)
    expected = jgmm.fit(few, K, weights=W[:200], covariance_type=family)
    assert_mixtures_close(ours.mixture, expected.mixture, 1e-8)
    np.testing.assert_allclose(ours.log_likelihood, expected.log_likelihood, rtol=1e-9)
    # In any order, from a given start.
    mixture = start(family, few)
    ours = plain_steps(junk[::-1], mixture, family, weights=weights[::-1])
    expected = plain_steps(few, mixture, family, weights=W[:200])
    assert_mixtures_close(ours.mixture, expected.mixture, 1e-9)


def test_a_component_of_weight_zero_does_not_count() -> None:
    mixture = start("full", X)
    padded = jgmm.Mixture(
        weights=np.append(mixture.weights, 0.0),
        means=np.append(mixture.means, X[:1], axis=0),
        covariances=np.append(mixture.covariances, np.eye(D)[None], axis=0),
    )
    ours = jgmm.fit(X, K + 1, init=padded, tol=0.0, max_iter=STEPS)
    expected = jgmm.fit(X, K, init=mixture, tol=0.0, max_iter=STEPS)
    assert ours.mixture.weights[K] == 0
    assert ours.status == expected.status == Status.MAX_ITER
    assert finite(ours.mixture)
    used = jax.tree.map(lambda leaf: leaf[:K], ours.mixture)
    assert_mixtures_close(used, expected.mixture, 1e-8)
    np.testing.assert_allclose(ours.history, expected.history, rtol=1e-9)


def test_the_scale_of_the_weights_is_no_matter() -> None:
    expected = jgmm.fit(X, K, weights=W, order="weight")
    for scale in (1e-6, 1e6):
        ours = jgmm.fit(X, K, weights=scale * W, order="weight")
        assert_mixtures_close(ours.mixture, expected.mixture, 1e-8)
        np.testing.assert_allclose(ours.log_likelihood, expected.log_likelihood, rtol=1e-9)


def test_at_an_optimum_it_stays() -> None:
    best = jgmm.fit(X, K, tol=1e-13, max_iter=500)
    assert best.status == Status.CONVERGED
    again = jgmm.fit(X, K, init=best.mixture)
    assert again.status == Status.CONVERGED
    assert again.n_iter <= 4
    assert again.log_likelihood >= best.log_likelihood - 1e-13
    assert_mixtures_close(again.mixture, best.mixture, 1e-5)


def test_acceleration_reaches_the_same_optimum_in_fewer_steps() -> None:
    x = overlapping(seed=7)  # on which plain EM takes 187 steps
    mixture = start("full", x)
    slow = plain_steps(x, mixture, "full", tol=1e-10, max_iter=500)
    fast = jgmm.fit(x, K, init=mixture, reg_covar=0.0, tol=1e-10, max_iter=500)
    assert slow.status == fast.status == Status.CONVERGED
    assert 2 * fast.n_iter < slow.n_iter
    assert fast.log_likelihood > slow.log_likelihood - 1e-8
    # A step more adds nothing: it is a fixed point of EM.
    following, _ = jgmm.em_step(fast.mixture, x)
    assert_mixtures_close(following, fast.mixture, 1e-4)


def test_restarts_are_never_worse() -> None:
    key = jax.random.key(4)
    # Stopped early: in the end they find the same.
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 1, "tol": 0.0}
    together = jgmm.fit(X, K, key=key, n_restarts=3, **options)
    singly = [jgmm.fit(X, K, key=k, **options) for k in jax.random.split(key, 3)]
    scores = sorted(float(result.log_likelihood) for result in singly)
    assert scores[-1] - scores[0] > 1e-3
    best = max(singly, key=lambda result: float(result.log_likelihood))
    np.testing.assert_allclose(together.log_likelihood, best.log_likelihood, rtol=1e-9)
    assert_mixtures_close(together.mixture, best.mixture, 1e-7)
    assert_history_is_right(together, 1)


def test_a_sweep_starts_as_single_fits_do() -> None:
    """Its blocks are cut for the largest k; here the start draws from a part of the pixels."""
    x = cast(overlapping(n=17_000, d=1), np.float32)  # so few numbers compile quickly
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 0}
    both = jgmm.sweep(x, [2, 9], **options)
    for k in (2, 9):
        alone = jgmm.fit(x, k, **options)
        np.testing.assert_allclose(both[k].log_likelihood, alone.log_likelihood, rtol=1e-6)
        assert_mixtures_close(both[k].mixture, alone.mixture, 1e-4)


def test_the_same_call_gives_the_same_answer() -> None:
    first, again = jgmm.fit(X, K), jgmm.fit(X, K, key=jax.random.key(0))
    np.testing.assert_array_equal(first.mixture.means, again.mixture.means)
    other = jgmm.fit(X, K, key=jax.random.key(9), max_iter=0)
    assert not np.array_equal(jgmm.fit(X, K, max_iter=0).mixture.means, other.mixture.means)


def test_tolerance_and_steps_end_it() -> None:
    rough, fine = (jgmm.fit(X, K, tol=tol, search="none") for tol in (1e-2, 1e-9))
    assert rough.status == fine.status == Status.CONVERGED
    assert rough.n_iter < fine.n_iter
    assert rough.log_likelihood < fine.log_likelihood
    rough.raise_for_status()
    short = jgmm.fit(X, K, tol=0, max_iter=3)
    assert short.status == Status.MAX_ITER
    with pytest.raises(RuntimeError, match="MAX_ITER"):
        short.raise_for_status()


def test_an_image_of_integers() -> None:
    image = np.clip(40 * X + 128, 0, 255).astype(np.uint8).reshape(15, 16, D)
    ours = jgmm.fit(image, K)
    expected = jgmm.fit(image.reshape(-1, D).astype(np.float32), K)
    assert ours.mixture.means.dtype == np.float32
    np.testing.assert_array_equal(ours.mixture.means, expected.mixture.means)
    weights = cast(W, np.float32)
    ours = jgmm.fit(image, K, weights=weights.reshape(15, 16))
    expected = jgmm.fit(image, K, weights=weights)
    np.testing.assert_array_equal(ours.mixture.means, expected.mixture.means)


@pytest.fixture
def compiled(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Which of the programs of a fit have been compiled since it was last asked."""
    programs = [f"jit({name})" for name in ("posed", "started", "iterated", "finished")]

    def since() -> list[str]:
        lines = [line for line in caplog.messages if line.startswith("Compiling")]
        caplog.clear()
        return [name for name in programs if any(name in line for line in lines)]

    with jax.log_compiles():
        yield since


def test_another_size_and_other_settings_compile_nothing(
    compiled: Callable[[], list[str]],
) -> None:
    jgmm.fit(X[:230], K)
    compiled()
    jgmm.fit(X[:100], K, tol=1e-3, max_iter=77, reg_covar=1e-4, key=jax.random.key(3))
    jgmm.fit(X[:7], K, weights=np.ones(7))
    assert compiled() == []
    # Nor does another number of components up to 8, alone, in a sweep or from several starts.
    for k in (1, 4, 8):
        assert jgmm.fit(X[:100], k).mixture.n_components == k
    assert jgmm.fit(X[:100], 2, n_restarts=2).mixture.n_components == 2
    assert jgmm.sweep(X[:100], [2, 5])[5].mixture.n_components == 5
    assert compiled() == []
    # One of more does, and is seen.
    jgmm.fit(X[:20], 9, init=X[:9], covariance_type="spherical", max_iter=0)
    assert "jit(iterated)" in compiled()


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_one_climb_serves_all_starts_and_lengths(compiled: Callable[[], list[str]]) -> None:
    jgmm.fit(X, K)
    compiled()
    jgmm.fit(X, K, init="random_from_data", max_iter=3)
    jgmm.fit(X, K, init=X[:K])
    jgmm.fit(X, K, init=np.arange(N) % K)
    jgmm.fit(X, K, init=np.eye(K)[np.arange(N) % K])
    assert not {"jit(iterated)", "jit(finished)"} & set(compiled())


def test_with_derivatives_it_is_the_same_fit(compiled: Callable[[], list[str]]) -> None:
    """To the last bit, by the same programs."""
    expected = jgmm.fit(X, K, weights=W, covariance_type="diag")
    compiled()

    def value(x: Any, w: Any) -> Any:
        result = jgmm.fit(x, K, weights=w, covariance_type="diag")
        return result.log_likelihood, result

    slopes, result = jax.grad(value, argnums=(0, 1), has_aux=True)(X, W)
    assert compiled() == []
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert all(jnp.isfinite(slope).all() and jnp.any(slope != 0) for slope in slopes)


def test_what_is_differentiated_is_seen_without_its_derivatives() -> None:
    """Outside of programs an array, however often it is differentiated."""
    seen: list[Any] = []

    def look(x: Any) -> Any:
        seen.append(derivative._constant(x))
        return jnp.sum(x * seen[-1])

    x = np.arange(3.0)
    np.testing.assert_array_equal(jax.grad(look)(x), x)
    np.testing.assert_allclose(jax.jvp(look, (x,), (x,))[1], x @ x)
    np.testing.assert_array_equal(jax.grad(lambda x: jax.jvp(look, (x,), (x,))[1])(x), x)
    assert len(seen) == 3
    for array in seen:
        assert not isinstance(array, jax.core.Tracer)
        np.testing.assert_array_equal(array, x)
    seen.clear()
    # Part of a program it stays that.
    np.testing.assert_array_equal(jax.jit(jax.grad(look))(x), x)
    assert isinstance(seen[0], jax.core.Tracer)
