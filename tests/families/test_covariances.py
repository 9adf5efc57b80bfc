from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import DTYPES, FAMILIES, TOLERANCE, D, K
from hypothesis import given
from hypothesis import strategies as st

from jgmm.data.programs import program
from jgmm.families import floor as _floor
from jgmm.families.scatters import Scatters, of_one_sample
from jgmm.families.table import FAMILIES as TABLE
from jgmm.families.table import family_of, inferred

clip = program()(_floor.clip_matrices)


def scatters(seed: int, k: int = K, d: int = D) -> np.ndarray:
    """[k, d, d] covariances with eigenvalues from about 1e-4 to 10."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(k, d, d)) * 10.0 ** rng.uniform(-2, 0.5, size=(k, 1, d))
    return factors @ factors.swapaxes(1, 2)


def every(k: int) -> jax.Array:
    """All components are used."""
    return jnp.ones(k, bool)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_shape_tells_the_family(name: str) -> None:
    shape = TABLE[name].shape(4, 3)
    assert inferred(shape, 4, 3) is TABLE[name]


def test_where_families_coincide_the_first_is_named() -> None:
    assert inferred((1, 3, 3), 1, 3).name == "full"
    assert inferred((4, 1), 4, 1).name == "diag"


def test_a_shape_of_no_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"full \(4, 3, 3\).*spherical \(4, 1\).*got \(4, 2\)"):
        inferred((4, 2), 4, 3)


def test_a_family_is_known_by_its_name_or_as_itself() -> None:
    for name in FAMILIES:
        assert family_of(name) is TABLE[name]
        assert family_of(TABLE[name]) is TABLE[name]
    with pytest.raises(ValueError, match="covariance_type: expected one of full, .*got 'banded'"):
        family_of("banded")


@pytest.mark.parametrize(
    ("name", "expected"), [("full", 4 * 6), ("tied", 6), ("diag", 4 * 3), ("spherical", 4)]
)
def test_free_parameters(name: str, expected: int) -> None:
    assert TABLE[name].n_parameters(4, 3) == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_the_likeliest_covariances_have_the_shape_and_keep_the_trace(name: str) -> None:
    matrices, share = scatters(0), np.array([0.5, 0.2, 0.3])
    family = TABLE[name]
    counts = jnp.asarray(100 * share)
    scatters_of = Scatters(spreads=jnp.asarray(matrices), n=counts, counts=counts, used=every(K))
    constrained = family.maximise(scatters_of)
    assert constrained.shape == family.shape(K, D)
    # Every family keeps the mean variance: of each component, or of all where they share one.
    variances = np.trace(family.dense(constrained, K, D), axis1=1, axis2=2)
    expected = np.trace(matrices, axis1=1, axis2=2)
    if name == "tied":
        expected = np.full(K, share @ expected)
    np.testing.assert_allclose(variances, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_variances_alone_make_no_matrices(name: str) -> None:
    with pytest.raises(ValueError, match="expected diag or spherical"):
        TABLE[name].maximise(of_one_sample(jnp.ones((K, D))))


@pytest.mark.parametrize("name", FAMILIES)
def test_variances_and_what_is_kept_of_them(name: str) -> None:
    family = TABLE[name]
    mixed = family.of_matrices(scatters(3))[: family.shape(K, D)[0]]
    dense = family.dense(mixed, K, D)
    variances = family.variances(mixed, K, D)
    assert isinstance(variances, np.ndarray)
    np.testing.assert_array_equal(variances, np.diagonal(dense, 0, 1, 2))
    if family.independent:
        np.testing.assert_array_equal(family.of_matrices(variances), family.of_matrices(dense))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_inverse_root_whitens(dtype: type) -> None:
    matrices = scatters(1) + 0.1 * np.eye(D)
    root, half_log_det = TABLE["full"].inverse_root(jnp.asarray(matrices, dtype), D)
    white = root @ matrices.astype(dtype) @ root.swapaxes(1, 2)
    tolerance = 10 * TOLERANCE[np.dtype(dtype)]  # the condition number is about 100
    np.testing.assert_allclose(white, np.broadcast_to(np.eye(D), (K, D, D)), atol=tolerance)
    np.testing.assert_allclose(2 * half_log_det, np.linalg.slogdet(matrices)[1], atol=tolerance)
    np.testing.assert_array_equal(root, jnp.tril(root))


@pytest.mark.parametrize(("name", "features"), [("spherical", 1), ("spherical", 3), ("diag", 1)])
def test_the_inverse_root_of_variances(name: str, features: int) -> None:
    root, half_log_det = TABLE[name].inverse_root(jnp.array([[4.0], [0.25]]), features)
    np.testing.assert_allclose(root, [[0.5], [2.0]], rtol=1e-15)
    np.testing.assert_allclose(half_log_det, features * np.log([2.0, 0.5]), rtol=1e-15)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(-4, 2))
def test_clip_is_the_reference(seed: int, scale: float) -> None:
    matrices = scatters(seed)
    floor = 10**scale * np.random.default_rng(seed).uniform(0.5, 2, size=D)
    expected = [reference.raise_to_floor(c, floor) for c in matrices]
    actual = clip(jnp.asarray(matrices), jnp.asarray(floor))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(seed=st.integers(0, 2**32 - 1))
def test_no_covariance_above_the_floor_is_more_likely_than_the_clipped(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scatter, floor = scatters(seed, k=1)[0], rng.uniform(0.01, 1, size=D)
    best = np.asarray(clip(jnp.asarray(scatter[None]), jnp.asarray(floor)))[0]

    def log_likelihood(sigma: np.ndarray) -> float:
        return float(-np.linalg.slogdet(sigma)[1] - np.trace(np.linalg.solve(sigma, scatter)))

    assert np.linalg.eigvalsh(best - np.diag(floor)).min() > -1e-9
    for size in (1e-3, 1e-1, 1.0):
        step = size * rng.normal(size=(D, D))
        other = reference.raise_to_floor(best + step + step.T, floor)
        assert log_likelihood(other) <= log_likelihood(best) + 1e-9


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_leaves_alone_what_is_large_enough(dtype: type) -> None:
    matrices = jnp.asarray(scatters(2) + np.eye(D), dtype)
    # To the last bit, with a floor whose root is a power of two; else to the change of units.
    np.testing.assert_array_equal(clip(matrices, jnp.full(D, 0.25, dtype)), matrices)
    # Also where another component needs raising.
    mixed = matrices.at[0].set(jnp.zeros((D, D), dtype))
    clipped = clip(mixed, jnp.full(D, 0.25, dtype))
    np.testing.assert_array_equal(clipped[1:], matrices[1:])
    np.testing.assert_allclose(clipped[0], 0.25 * np.eye(D), rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_floor_of_zero_clips_nothing(name: str) -> None:
    family = TABLE[name]
    singular = jnp.zeros(family.shape(K, D))
    np.testing.assert_array_equal(family.clip(singular, jnp.zeros(D)), singular)


def test_clip_of_variances() -> None:
    floor = jnp.array([0.1, 0.2, 0.6])
    diag, spherical = TABLE["diag"], TABLE["spherical"]
    np.testing.assert_allclose(
        diag.clip(jnp.array([[1.0, 0.1, 0.0]]), floor), [[1.0, 0.2, 0.6]], rtol=1e-15
    )
    # One variance for all features: the likelihood knows their mean only.
    np.testing.assert_allclose(
        spherical.clip(jnp.array([[0.2], [0.7]]), floor), [[0.3], [0.7]], rtol=1e-15
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_clipped_can_be_factorised(dtype: type) -> None:
    """A covariance of rank one, of huge or tiny size, with the floor far below."""
    direction = np.array([1.0, 2.0, -1.0])
    matrices = np.array([s * np.outer(direction, direction) for s in (1e-3, 1.0, 1e3)])
    # In float32 a factorisation sees 1e-7 of the largest eigenvalue.
    floor = np.full(D, 1e-2 if dtype == np.float32 else 1e-6)
    clipped = clip(jnp.asarray(matrices, dtype), jnp.asarray(floor, dtype))
    assert np.isfinite(np.linalg.cholesky(np.asarray(clipped))).all()
    np.testing.assert_array_equal(clipped, clipped.swapaxes(1, 2))


def test_clip_of_one_feature() -> None:
    matrices = jnp.array([[[0.0]], [[2.0]]])
    np.testing.assert_allclose(clip(matrices, jnp.array([0.5])), [[[0.5]], [[2.0]]], rtol=1e-15)


def test_the_derivative_of_clip_is_its_finite_difference() -> None:
    """By matrices and floor; with eigenvalues above the floor, below it, and equal ones."""
    matrices = np.stack([scatters(3)[0], 0.5 * np.eye(D), 3 * np.eye(D), np.diag([3.0, 0.1, 0.1])])
    floor = np.array([1.0, 0.8, 1.3])
    rng = np.random.default_rng(0)
    change = rng.normal(size=matrices.shape)
    change, rise = change + change.swapaxes(1, 2), rng.normal(size=D)
    step = 1e-6
    up, down = (clip(matrices + h * change, floor + h * rise) for h in (step, -step))
    _, actual = jax.jvp(_floor.clip_matrices, (matrices, floor), (change, rise))
    np.testing.assert_allclose(actual, (up - down) / (2 * step), rtol=1e-7, atol=1e-7)
    pull = rng.normal(size=matrices.shape)
    by_matrices, by_floor = jax.vjp(_floor.clip_matrices, matrices, floor)[1](pull)
    both = np.sum(by_matrices * change) + by_floor @ rise
    np.testing.assert_allclose(both, np.sum(pull * actual), rtol=1e-10)
    # Nothing is below this floor: everything is left alone, and so is the change.
    _, same = jax.jvp(_floor.clip_matrices, (matrices, 1e-9 * floor), (change, 0 * rise))
    np.testing.assert_allclose(same, change, rtol=1e-10)
