"""Many variances in natural parameters: the same numbers, and the judgement where they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import K, cast, overlapping, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Block
from jgmm.families.kernels import ElementwiseKernel, Kernel
from jgmm.families.natural import natural, powers

D = 20
WIDE = overlapping(n=60, d=D)
R = np.random.default_rng(5).uniform(0.1, 1, size=(K, 60))
FAMILIES = ("diag", "spherical")


def kernel_of(mixture: jgmm.Mixture) -> ElementwiseKernel:
    kernel = jax.tree.map(jnp.asarray, mixture).kernel()
    assert isinstance(kernel, ElementwiseKernel)
    return kernel


def block_of(x: np.ndarray) -> Block:
    return Block(features=jnp.asarray(x.T), weights=jnp.ones(len(x), x.dtype))


def centered(family: str, offset: float = 0.0, scale: float = 1.0) -> jgmm.Mixture:
    """A mixture around the origin, with one component ``offset`` away and spreads scaled."""
    mixture = start(family, WIDE)
    means = mixture.means - mixture.weights @ mixture.means
    means = means + offset * np.array([[0.0], [0.0], [1.0]])
    return dataclasses.replace(mixture, means=means, covariances=scale * mixture.covariances)


@program()
def both_ways(kernel: ElementwiseKernel, block: Block) -> Any:
    """Energies and moments, as the kernel takes them and in the whitened frame."""

    def respond(whitened: Any) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(R, block.features.dtype), whitened.energy

    ways = kernel.accumulate(block, respond), Kernel.accumulate(kernel, block, respond)
    return tuple((energy, *kernel.moments(sums)) for sums, energy in ways)


@pytest.mark.parametrize("family", FAMILIES)
def test_natural_parameters_give_what_the_whitened_frame_gives(family: str) -> None:
    kernel = kernel_of(centered(family))
    assert kernel.natural.benign
    energy = kernel.natural.coefficients @ powers(jnp.asarray(WIDE.T))
    y = (WIDE.T[:, None] - kernel.means.T[:, :, None]) * kernel.inverse_roots.T[:, :, None]
    np.testing.assert_allclose(energy, -(y**2).sum(0) / 2, rtol=1e-9)
    quick, careful = both_ways(kernel, block_of(WIDE))
    assert not np.array_equal(quick[0], careful[0])
    for a, b in zip(quick, careful, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_right_to_the_fourth_decimal_in_float32_where_they_are_used(family: str) -> None:
    """Of components so far apart that the terms that cancel are about as large as allowed."""
    mixture = centered(family, offset=8.0)
    kernel = kernel_of(cast(mixture, np.float32))
    assert kernel.natural.benign
    quick, _ = both_ways(kernel, block_of(cast(WIDE, np.float32)))
    _, exact = both_ways(kernel_of(mixture), block_of(WIDE))
    np.testing.assert_allclose(quick[0], exact[0], rtol=0, atol=5e-4)
    assert not kernel_of(centered(family, offset=12.0)).natural.benign


@pytest.mark.parametrize(("offset", "scale"), [(1000.0, 1.0), (0.0, 1e-4)], ids=["far", "narrow"])
@pytest.mark.parametrize("family", FAMILIES)
def test_where_digits_would_be_lost_the_whitened_frame_is_taken(
    family: str, offset: float, scale: float
) -> None:
    kernel = kernel_of(centered(family, offset, scale))
    assert not kernel.natural.benign
    taken, careful = both_ways(kernel, block_of(WIDE))
    for a, b in zip(taken, careful, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_component_that_is_not_used_has_no_say() -> None:
    mixture = centered("diag", offset=1000.0)
    at = jax.tree.map(jnp.asarray, mixture)
    inverse, _ = at.family.inverse_root(at.covariances, D)
    used = natural(jnp.array([0.5, 0.5, 0.0]), at.means, at.covariances, inverse)
    assert used.benign
    assert not natural(at.weights, at.means, at.covariances, inverse).benign
    assert jnp.isfinite(used.coefficients).all()
