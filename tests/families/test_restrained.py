"""What families promise whose components share volumes, shapes or axes: one contract for all.

One program serves all of them where that is possible: programs are what tests cost.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import restrained

from jgmm.data.programs import program
from jgmm.families.floor import Floor, Ridge
from jgmm.families.restrained import Restrained
from jgmm.families.scatters import Scatters, of_one_sample
from jgmm.families.table import FAMILIES

RESTRAINED = [name for name, family in FAMILIES.items() if family.restrained]
for_every_family = pytest.mark.parametrize("name", RESTRAINED)

K, D = 4, 3
COUNTS = np.array([5.0, 1.0, 0.5, 20.0])
USED = np.array([True, True, False, True])
FLOOR = np.array([0.5, 0.9, 0.6])


def family_of(name: str) -> Restrained:
    family = FAMILIES[name]
    assert isinstance(family, Restrained)
    return family


def spd(seed: int, k: int = K, d: int = D) -> np.ndarray:
    """Covariance matrices [k, d, d] in general position."""
    factors = np.random.default_rng(seed).normal(size=(k, d, d))
    return factors @ factors.swapaxes(1, 2) / d + 0.2 * np.eye(d)


def dense(name: str, covariances: Any) -> np.ndarray:
    return np.asarray(family_of(name).dense(covariances, K, D))


def stored(name: str, matrices: np.ndarray) -> np.ndarray:
    """Matrices as the family stores them."""
    return np.diagonal(matrices, 0, 1, 2) if family_of(name).independent else matrices


def near(name: str, seed: int) -> np.ndarray:
    """Covariances of the family, in general position."""
    covariances: np.ndarray = family_of(name).member(stored(name, spd(seed)), np.ones(K))
    return covariances


def assert_shared(name: str, matrices: np.ndarray, used: np.ndarray | None = None) -> None:
    """What the letters say is the same for all that are used, is the same."""
    some = matrices if used is None else matrices[used]
    volume, shape, axes = name
    sizes = np.linalg.det(some) ** (1 / D)
    spectra = np.linalg.eigvalsh(some) / sizes[:, None]
    if volume == "E":
        np.testing.assert_allclose(sizes, np.full_like(sizes, sizes[0]), rtol=1e-9)
    if axes == "I":
        assert (some[:, ~np.eye(D, dtype=bool)] == 0).all()
    if axes == "I" and shape == "E":
        scaled = some / sizes[:, None, None]
        np.testing.assert_allclose(scaled, np.broadcast_to(scaled[0], scaled.shape), rtol=1e-9)
    if axes == "V" and shape == "E":
        np.testing.assert_allclose(spectra, np.broadcast_to(spectra[0], spectra.shape), rtol=1e-9)
    if axes == "E":  # matrices with the same axes commute
        for a, b in itertools.combinations(some, 2):
            np.testing.assert_allclose(a @ b, b @ a, atol=1e-8 * np.abs(a).max() * np.abs(b).max())


def m_step(name: str, scatters: Any, counts: Any, used: Any, floor: Any, current: Any) -> Any:
    family = family_of(name)
    found = Scatters(spreads=scatters, n=counts, counts=counts, used=used)
    return family.estimate(found, Floor(variances=floor), current)


@cache
def all_m_steps() -> Any:
    """Of every family by one program: of floors that bind and not, of unused components."""

    @program()
    def run(scatters: Any, counts: Any, used: Any, floor: Any, current: Any) -> Any:
        return {
            name: m_step(name, scatters, counts, used, floor, current[name]) for name in RESTRAINED
        }

    return run


def estimates(used: np.ndarray, floor: np.ndarray) -> dict[str, np.ndarray]:
    """The M-steps of one set of scatter matrices from a place of each family."""
    current = {name: places(name, floor) for name in RESTRAINED}
    found = all_m_steps()(spd(5), COUNTS, used, floor, current)
    return {name: dense(name, covariances) for name, covariances in found.items()}


def places(name: str, floor: np.ndarray) -> np.ndarray:
    """Covariances of the family, far above the floor."""
    here = near(name, 2)
    least = np.linalg.eigvalsh(dense(name, here)).min()
    return here * max(1.0, 2 * floor.max() / least)


def test_free_parameters_are_counted_as_by_mclust() -> None:
    from test_mclust import recorded

    for name, n in recorded()["parameters_of_4_in_3"].items():
        names = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
        family = FAMILIES[names.get(name, name)]
        assert family.n_parameters(4, 3) + 4 * 3 + 3 == n


@for_every_family
def test_members(name: str) -> None:
    """What is near is of the family, and its own stay where they are; on the host."""
    family, weights = family_of(name), COUNTS / COUNTS.sum()
    found = family.member(stored(name, spd(1)), weights)
    assert isinstance(found, np.ndarray)
    assert_shared(name, dense(name, found))
    np.testing.assert_allclose(family.member(found, weights), found, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(family.member(found, np.ones(K)), found, rtol=1e-9, atol=1e-12)
    assert isinstance(family.shared_out(spd(1), weights), np.ndarray)


@for_every_family
def test_the_m_step_is_the_reference(name: str) -> None:
    found = estimates(np.ones(K, bool), np.zeros(D))[name]
    expected = restrained.ESTIMATES[name](spd(5), COUNTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    # Components that explain nothing have no say in what the others share.
    some = estimates(USED, np.zeros(D))[name]
    expected = restrained.ESTIMATES[name](spd(5)[USED], COUNTS[USED])
    np.testing.assert_allclose(some[USED], expected, rtol=1e-5, atol=1e-7)
    assert np.isfinite(some).all()


@for_every_family
def test_the_floor_is_under_every_covariance(name: str) -> None:
    """And the M-step over it is no worse than where it starts, nor than what is lifted over it."""
    floor = np.full(D, FLOOR.mean()) if family_of(name).isotropic else FLOOR
    found = estimates(np.ones(K, bool), FLOOR)[name]
    assert_shared(name, found)
    assert np.linalg.eigvalsh(found - np.diag(floor)).min() > -1e-9
    assert np.linalg.eigvalsh(found - np.diag(floor)).min() < 1e-9  # it binds
    start = dense(name, places(name, FLOOR))
    value = restrained.cost(found, spd(5), COUNTS)
    assert value <= restrained.cost(start, spd(5), COUNTS)
    raised = dense(name, near(name, 5))
    least = np.linalg.eigvalsh(raised / np.sqrt(np.outer(floor, floor))).min()
    assert value <= restrained.cost(raised * max(1, 1 / least), spd(5), COUNTS)


def test_no_ridge_is_added_to_what_is_shared() -> None:
    scatters = of_one_sample(jnp.asarray(spd(1)))
    with pytest.raises(ValueError, match="expected a floor under VEV, got a ridge"):
        family_of("VEV").estimate(scatters, Ridge(variances=jnp.ones(D)))


@pytest.mark.parametrize("name", ["VEI", "VVE", "VEV"])
def test_free_parameters_are_a_chart_of_the_family(name: str) -> None:
    family, weights = family_of(name), COUNTS / COUNTS.sum()
    zero = np.zeros(family.tangent_shape(K, D))
    step = np.random.default_rng(0).normal(size=zero.shape) / 3

    @program()
    def run(covariances: Any, weights: Any) -> Any:
        def grown(growth: Any) -> Any:
            return family.dense(family.near(covariances, growth, weights, D), K, D)

        return grown(zero), grown(step), jax.jacfwd(grown)(zero)

    here, moved, ways = map(np.asarray, run(near(name, 0), weights))
    np.testing.assert_allclose(here, dense(name, near(name, 0)), rtol=1e-9, atol=1e-10)
    assert_shared(name, moved)
    n = family.n_parameters(K, D)
    ways = ways.reshape(K, D, D, n)
    assert np.linalg.matrix_rank(ways.reshape(-1, n)) == n
    # Each is in units of what a sample tells of it.
    inverse = np.linalg.inv(np.linalg.cholesky(here))
    white = np.einsum("kij,kjlp,kml->kimp", inverse, ways, inverse)
    information = np.einsum("k,kijp,kijp->p", weights, white, white) / 2
    np.testing.assert_allclose(information, 1, rtol=1e-6)
    free = np.asarray(family.free(jnp.asarray(USED), D))
    assert free.shape == (1, n)
    unused = np.abs(ways[USED]).max(axis=(0, 1, 2)) == 0
    np.testing.assert_array_equal(free[0], ~unused)


@pytest.mark.parametrize("name", ["VEI", "VVE", "VEV"])
def test_the_derivative_of_the_m_step(name: str) -> None:
    """By scatter matrices and counts; it does not go through the iterations."""
    family, ones = family_of(name), jnp.ones(K, bool)
    rng = np.random.default_rng(0)
    change = rng.normal(size=(K, D, D))
    change = change + change.swapaxes(1, 2)
    more = rng.normal(size=K)

    @program()
    def run(size: Any) -> tuple[Any, Any]:
        def moved(size: Any) -> Any:
            counts = COUNTS + size * more
            scatters = Scatters(spreads=spd(5) + size * change, n=counts, counts=counts, used=ones)
            return family.maximise(scatters)

        return jax.jvp(moved, (size,), (jnp.ones_like(size),))

    step = 1e-4
    (_, slope), (low, _), (high, _) = (run(jnp.asarray(s)) for s in (0.0, -step, step))
    np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=1e-4, atol=1e-4)
