"""Laws of `partial_fit`: statistics add up, and fade."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from streamed import START, X

import jgmm

BLOCKS = X.reshape(9, 100, 2)


def test_of_one_component_it_is_the_fit_to_all() -> None:
    """Nothing depends on responsibilities there, and nothing is forgotten."""
    for far in (0.0, 1e6):
        normal = jgmm.Mixture(
            np.ones(1), X[:100].mean(0)[None] + far, np.cov(X[:100].T, ddof=0)[None]
        )
        state: Any = jgmm.FitResult(normal, *[np.zeros(())] * 5, weight=np.asarray(100.0))
        for block in BLOCKS[1:]:
            state = jgmm.partial_fit(state, block + far)
        np.testing.assert_allclose(
            state.mixture.means[0] - far, X.mean(axis=0), rtol=1e-7, atol=1e-8
        )
        np.testing.assert_allclose(state.mixture.covariances[0], np.cov(X.T, ddof=0), rtol=1e-7)
        assert (float(state.weight), int(state.n_blocks)) == (900, 8)


def test_without_memory_a_step_is_one_of_em() -> None:
    gmm = reference.Gmm(*map(np.asarray, (START.weights, START.means, START.covariances)))
    block = BLOCKS[0]
    expected, before = reference.em_step(gmm, block, np.ones(100), "full", 0 * X[0])
    state = jgmm.partial_fit(START, block, memory=1e-3, reg_covar=0.0)
    np.testing.assert_allclose(state.mixture.means, expected.means, rtol=1e-9)
    np.testing.assert_allclose(state.mixture.covariances, expected.covariances, rtol=1e-8)
    np.testing.assert_allclose(state.log_likelihood, before, rtol=1e-10)


def test_a_mixture_counts_as_the_first_block_does_and_fades_with_the_weight() -> None:
    state = jgmm.partial_fit(START, BLOCKS[0], memory=50.0)
    np.testing.assert_allclose(state.weight, 100 * np.exp(-2) + 100, rtol=1e-10)
    # Samples of weight 0 are no samples, and two of one are one of two.
    weights = np.repeat([2.0, 0.0], 50)
    twice = np.concatenate([BLOCKS[0][:50], BLOCKS[0][:50]])
    once = jgmm.partial_fit(START, BLOCKS[0], weights=weights, memory=50.0)
    expected = jgmm.partial_fit(START, twice, memory=50.0)
    np.testing.assert_allclose(once.mixture.means, expected.mixture.means, rtol=1e-9)


def test_it_goes_into_a_scan_and_follows_what_changes() -> None:
    def step(state: Any, block: Any) -> Any:
        following = jgmm.partial_fit(state, block, memory=200.0)
        return following, following.log_likelihood

    stream = jnp.concatenate([BLOCKS + shift for shift in np.linspace(0, 3, 5)])
    first = jgmm.partial_fit(START, stream[0], memory=200.0)
    last, curve = jax.jit(lambda s, b: jax.lax.scan(step, s, b))(first, stream[1:])
    assert bool(jnp.all(jnp.isfinite(curve)))
    assert float(jgmm.score(last, stream[-1])) > float(jgmm.score(first, stream[-1])) + 0.5
    by_hand: Any = first
    for block in stream[1:3]:
        by_hand = jgmm.partial_fit(by_hand, block, memory=200.0)
    np.testing.assert_allclose(by_hand.log_likelihood, curve[1], rtol=1e-9)


def test_a_component_that_explains_nothing_stays() -> None:
    far = jgmm.Mixture([0.5, 0.5], [[0.0], [1e6]], [[1.0], [1.0]])
    state = jgmm.partial_fit(far, [[0.0], [1.0]], memory=1e-3)
    np.testing.assert_allclose(state.mixture.weights, [1, 0])
    assert float(state.mixture.means[1, 0]) == 1e6
    assert np.isfinite(np.asarray(state.mixture.covariances)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 0.0}, "memory: expected a weight above 0"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"weights": np.ones(3)}, "weights: expected shape"),
    ],
)
def test_bad_calls(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jgmm.partial_fit(START, BLOCKS[0], **options)
    with pytest.raises(ValueError, match="expected 2 features"):
        jgmm.partial_fit(START, BLOCKS[0][:, :1])
    with pytest.raises(TypeError, match="state: expected a Mixture"):
        jgmm.partial_fit(3, BLOCKS[0])  # type: ignore[arg-type]
