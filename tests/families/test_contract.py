"""What every covariance family promises, by every solver: one table, one row for each family.

A new family is tested by a row of its own; those whose components share volumes, shapes or axes
but not all of them have a smaller contract, in test_restrained.py, and so have those of a rank,
whose statistics are of another kind, in test_factor.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
import restrained
from examples import (
    STEPS,
    TOLERANCE,
    D,
    K,
    N,
    W,
    X,
    assert_history_is_right,
    assert_mixtures_close,
    cast,
    slope_at_the_end,
    start,
)

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Block
from jgmm.em.maximisation import maximisation
from jgmm.em.prior import log_density
from jgmm.em.statistics import SufficientStats
from jgmm.families import table
from jgmm.families.family import Family
from jgmm.families.floor import Floor, Ridge
from jgmm.families.scatters import Scatters, of_one_sample
from jgmm.families.table import FAMILIES
from jgmm.mixture.components import pad, take
from jgmm.mixture.mixture import checked


def one_variance(scatters: np.ndarray, counts: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """EII, as `reference.full` has it."""
    covariances = restrained.eii(scatters, counts)
    return np.maximum(covariances, floor.mean() * np.eye(len(floor)))


def one_for_each_feature(scatters: np.ndarray, counts: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """EEI, as `reference.full` has it."""
    return np.maximum(restrained.eei(scatters, counts), np.diag(floor))


@dataclasses.dataclass(frozen=True)
class Row:
    """A family and what is known of it."""

    family: Family
    n_parameters: int  # of four covariances in three dimensions
    estimate: reference.Estimate  # its M-step, as a textbook has it


ROWS = (
    Row(FAMILIES["full"], 4 * 6, reference.full),
    Row(FAMILIES["tied"], 6, reference.tied),
    Row(FAMILIES["diag"], 4 * 3, reference.diag),
    Row(FAMILIES["spherical"], 4, reference.spherical),
    Row(FAMILIES["EEI"], 3, one_for_each_feature),
    Row(FAMILIES["EII"], 1, one_variance),
)
for_every_family = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.family.name)


# Of one shape in every family, and no two of these families of one.
M, F = 4, 3
ONES, ALL = jnp.ones(M), jnp.ones(M, bool)


def spd(seed: int, k: int = M, d: int = F) -> np.ndarray:
    """Covariance matrices [k, d, d] in general position."""
    factors = np.random.default_rng(seed).normal(size=(k, d, d))
    return factors @ factors.swapaxes(1, 2) / d + 0.2 * np.eye(d)


@cache
def member(family: Family, seed: int, k: int = M, d: int = F) -> jax.Array:
    """Covariances of the family, in general position."""
    return family.maximise(of_one_sample(jnp.asarray(spd(seed, k, d))))


def dense(family: Family, covariances: jax.Array, k: int = M, d: int = F) -> np.ndarray:
    return np.asarray(family.dense(covariances, k, d))


def as_matrix(family: Family, form: jax.Array) -> np.ndarray:
    """A root or the inverse of one, as the matrices [M, F, F] that it multiplies vectors with."""
    basis = [jnp.tile(row, (M, 1)) for row in jnp.eye(F)]
    return np.stack([np.asarray(family.apply(form, row)) for row in basis], axis=2)


def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A B Aᵀ."""
    return a @ b @ a.swapaxes(1, 2)


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_every_family_has_a_row() -> None:
    free = {name for name, family in FAMILIES.items() if not family.restrained}
    assert {row.family.name for row in ROWS} == free
    assert all(FAMILIES[row.family.name] is row.family for row in ROWS)


# --- what is stored ---


@for_every_family
def test_shapes_and_free_parameters(row: Row) -> None:
    family, covariances = row.family, member(row.family, 0)
    assert covariances.shape == family.shape(M, F)
    assert len(covariances) == (1 if family.shared else M)
    assert table.inferred(covariances.shape, M, F) is family
    assert family.n_parameters(M, F) == row.n_parameters
    # As many directions as there are ways for the matrices to change.
    root = family.root(covariances)

    def grown(growth: jax.Array) -> jax.Array:
        moved = root + family.push(root, growth, F)
        return family.dense(family.square(moved), M, F).ravel()

    shape = family.tangent_shape(M, F)
    assert np.prod(shape) == row.n_parameters
    assert shape[0] == len(covariances)
    ways = program()(jax.jacfwd(grown))(jnp.zeros(shape)).reshape(M * F * F, -1)
    assert np.linalg.matrix_rank(ways) == row.n_parameters


@for_every_family
def test_covariances_are_positive_definite_matrices(row: Row) -> None:
    matrices = dense(row.family, member(row.family, 0))
    assert matrices.shape == (M, F, F)
    np.testing.assert_array_equal(matrices, matrices.swapaxes(1, 2))
    assert (np.linalg.eigvalsh(matrices) > 0).all()
    off = matrices[:, ~np.eye(F, dtype=bool)]
    assert (off == 0).all() if row.family.independent else (off != 0).all()
    if row.family.shared:
        np.testing.assert_array_equal(matrices, np.broadcast_to(matrices[:1], (M, F, F)))


@for_every_family
def test_components_can_be_taken_and_padded(row: Row) -> None:
    family, covariances = row.family, member(row.family, 0)
    matrices = dense(family, covariances)
    for leaf in (covariances, np.asarray(covariances)):
        some = family.take(leaf, np.array([2, 0]))
        more = family.pad(leaf, M + 2)
        # On the host nothing is compiled for.
        assert {isinstance(a, np.ndarray) for a in (some, more)} == {isinstance(leaf, np.ndarray)}
        assert some.shape == family.shape(2, F)
        assert more.shape == family.shape(M + 2, F)
        np.testing.assert_array_equal(dense(family, some, 2), matrices[[2, 0]])
        np.testing.assert_array_equal(dense(family, more, M + 2), matrices[[0, 1, 2, 3, 0, 0]])
    each = family.per_component(covariances, M)
    assert each.shape[0] == M
    np.testing.assert_array_equal(family.dense(each, M, F), matrices)


@for_every_family
def test_unused_components_can_be_told_from_the_others(row: Row) -> None:
    family, used = row.family, jnp.array([True, False, True, True])
    these, others = member(family, 0), member(family, 1)
    a, b = dense(family, these), dense(family, others)
    # One covariance for all is there as long as any component is.
    expected = a if family.shared else np.where(np.asarray(used)[:, None, None], a, b)
    np.testing.assert_array_equal(dense(family, family.select(used, these, others)), expected)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    masses = family.masses(jnp.asarray(shares))
    assert_close(masses, [1.0] if family.shared else shares)
    average = dense(family, family.average(these, jnp.asarray(shares)))
    assert_close(average, np.broadcast_to(np.tensordot(shares, a, 1), (M, F, F)))


# --- factor algebra, against matrices ---


@for_every_family
def test_roots(row: Row) -> None:
    family, covariances = row.family, member(row.family, 0)
    matrices = dense(family, covariances)
    root = family.root(covariances)
    inverse, half_log_det = family.inverse_root(covariances, F)
    assert_close(family.square(root), covariances)
    lower = as_matrix(family, root)
    assert_close(lower, np.linalg.cholesky(matrices))
    assert_close(as_matrix(family, inverse), np.linalg.inv(lower))
    assert half_log_det.shape == (len(covariances),)
    assert_close(family.per_component(2 * half_log_det, M), np.linalg.slogdet(matrices)[1])
    # What is not positive definite has no root.
    assert jnp.isnan(family.root(-covariances)).any()


@for_every_family
def test_spreads_and_their_congruences(row: Row) -> None:
    """Spreads are what the statistics keep of matrices: all of them, or the diagonals."""
    family, covariances = row.family, member(row.family, 0)
    wide = family.wide
    assert wide.wide == wide
    assert not wide.shared
    spreads = family.spreads(jnp.asarray(spd(3)))
    assert spreads.shape == wide.shape(M, F)
    np.testing.assert_array_equal(family.spreads(spreads), spreads)
    kept = dense(wide, spreads)
    expected = spd(3) * np.eye(F) if family.independent else spd(3)
    assert_close(kept, expected)
    for form in (family.root(covariances), family.inverse_root(covariances, F)[0]):
        moved = dense(wide, family.congruence(form, spreads))
        assert_close(moved, turned(as_matrix(family, form), kept))
        np.testing.assert_array_equal(moved, moved.swapaxes(1, 2))
    vectors = np.random.default_rng(0).normal(size=(M, F))
    products = jnp.asarray(vectors[:, :, None] * vectors[:, None, :])
    assert_close(family.outer(jnp.asarray(vectors)), family.spreads(products))


@for_every_family
def test_features_rescaled_chosen_and_given(row: Row) -> None:
    family, covariances = row.family, member(row.family, 0)
    matrices = dense(family, covariances)
    # An isotropic family lives in frames of one scale for all features.
    scale = np.full(F, 3.0) if family.isotropic else np.array([3.0, 0.1, 7.0])
    rescaled = family.rescale(covariances, jnp.asarray(scale))
    assert rescaled.shape == covariances.shape
    assert_close(dense(family, rescaled), turned(np.diag(scale)[None], matrices))
    known, rest = np.array([2, 0]), np.array([1])
    marginal = family.marginal(covariances, known)
    assert marginal.shape == family.shape(M, 2)
    inner = matrices[:, known][:, :, known]
    assert_close(dense(family, marginal, d=2), inner)
    gaps = np.random.default_rng(0).normal(size=(M, 2))
    shift, left, density = family.conditional(covariances, rest, known, jnp.asarray(gaps))
    gain = matrices[:, rest][:, :, known] @ np.linalg.inv(inner)
    assert_close(shift, np.einsum("kri,ki->kr", gain, gaps))
    assert left.shape == family.shape(M, 1)
    schur = matrices[:, rest][:, :, rest] - gain @ matrices[:, known][:, :, rest]
    assert_close(dense(family, left, d=1), schur)
    distance = np.einsum("ki,ki->k", gaps, np.linalg.solve(inner, gaps[..., None])[..., 0])
    assert_close(density, -(np.linalg.slogdet(inner)[1] + distance) / 2)


# --- charts and the metric ---


@for_every_family
def test_every_value_of_the_chart_is_a_covariance(row: Row) -> None:
    family, one, other = row.family, member(row.family, 0), member(row.family, 1)
    a, b = family.unconstrained(one), family.unconstrained(other)
    assert a.shape == one.shape
    assert_close(family.constrained(a), one)
    # Far beyond the other, where a straight line between the two would have left the cone.
    far = family.constrained(a + 4 * (b - a))
    assert (np.linalg.eigvalsh(dense(family, far)) > 0).all()
    assert_close(family.unconstrained(far), a + 4 * (b - a))


@for_every_family
def test_the_square_of_an_isometric_change_is_its_information(row: Row) -> None:
    """½ |L⁻¹ dΣ L⁻ᵀ|² per sample, in dense form."""
    family, covariances = row.family, member(row.family, 0)
    change = member(family, 1) - covariances
    root, (inverse, _) = family.root(covariances), family.inverse_root(covariances, F)
    isometric = family.isometric(inverse, change, F)
    assert_close(family.from_isometric(root, isometric, F), change)
    lengths = np.sum(np.asarray(isometric).reshape(len(change), -1) ** 2, axis=1)
    white = turned(as_matrix(family, inverse), dense(family, change))
    information = np.sum(white**2, axis=(1, 2)) / 2
    assert_close(np.broadcast_to(lengths, M), information)


@for_every_family
def test_free_parameters_are_isometric(row: Row) -> None:
    """A growth of the root of length 1 has information 1, along whatever direction."""
    family, covariances = row.family, member(row.family, 0)
    root, (inverse, _) = family.root(covariances), family.inverse_root(covariances, F)
    shape = family.tangent_shape(M, F)

    def isometric(growth: jax.Array) -> jax.Array:
        _, change = jax.jvp(family.square, (root,), (family.push(root, growth, F),))
        return family.isometric(inverse, change, F).ravel()

    ways = np.asarray(program()(jax.jacfwd(isometric))(jnp.zeros(shape)))
    ways = ways.reshape(len(ways), -1)
    assert_close(ways.T @ ways, np.eye(row.n_parameters))


# --- the M-step ---


@for_every_family
def test_the_floor_is_under_every_covariance(row: Row) -> None:
    family, covariances = row.family, member(row.family, 0)
    floor = np.array([0.4, 1.8, 1.0])
    least = dense(family, jnp.broadcast_to(family.diagonal(jnp.asarray(floor)), covariances.shape))
    # One variance for several features knows of their floors only the mean.
    assert_close(least[0], np.diag(np.full(F, floor.mean()) if family.isotropic else floor))
    clipped = Floor(variances=jnp.asarray(floor)).under(family, covariances)
    assert clipped.shape == covariances.shape
    assert np.linalg.eigvalsh(dense(family, clipped) - least).min() > -1e-12
    assert not np.allclose(clipped, covariances)
    assert_close(family.clip(clipped, jnp.asarray(floor)), clipped)
    # What is large enough stays as it is, and under a floor of 0 all does.
    np.testing.assert_array_equal(family.clip(covariances, jnp.zeros(F)), covariances)
    large = covariances + family.diagonal(jnp.full(F, 2.0))
    assert_close(family.clip(large, jnp.asarray(floor)), large)
    ridged = Ridge(variances=jnp.asarray(floor)).under(family, covariances)
    assert_close(dense(family, ridged), dense(family, covariances) + least)


@for_every_family
@pytest.mark.parametrize("floor", [[0.0, 0.0, 0.0], [0.4, 1.8, 1.0]], ids=["free", "floor"])
def test_the_likeliest_covariances_are_the_reference(row: Row, floor: list[float]) -> None:
    family, scatters = row.family, spd(5)
    counts = np.array([5.0, 1.0, 0.5, 20.0])
    n = jnp.asarray(counts)
    all_used = Scatters(spreads=jnp.asarray(scatters), n=n, counts=n, used=ALL)
    best = family.maximise(all_used)
    clipped = family.clip(best, jnp.asarray(floor))
    assert_close(dense(family, clipped), row.estimate(scatters, counts, np.array(floor)))
    assert np.allclose(best, clipped) == (sum(floor) == 0)
    # A component that explains nothing has no say in what the others share.
    used = np.array([True, True, False, True])
    some = family.maximise(dataclasses.replace(all_used, used=jnp.asarray(used)))
    expected = row.estimate(scatters[used], counts[used], np.zeros(F))
    assert_close(dense(family, some)[used], expected)


@for_every_family
def test_a_sample_that_counts_double_is_two_in_the_spread_alone(row: Row) -> None:
    """Where samples count in the moments by other than their responsibilities."""
    family, n = row.family, jnp.array([5.0, 1.0, 0.5, 20.0])
    scatters = Scatters(spreads=jnp.asarray(spd(5)), n=n, counts=n, used=ALL)
    single, double = (
        family.maximise(scatters),
        family.maximise(dataclasses.replace(scatters, n=2 * n)),
    )
    assert_close(double, 2 * single)


PRIOR = jgmm.Prior(
    concentration=np.array(1.7),
    mean=np.array([0.3, -0.2, 0.5]),
    mean_strength=np.array(2.0),
    scale=spd(8, k=1)[0],
    dof=np.array(6.0),
)


@for_every_family
def test_the_prior_is_an_inverse_wishart_and_a_normal_of_each_mean(row: Row) -> None:
    """Or an inverse gamma of each variance. The normal of every mean that shares it is a factor."""
    family, covariances = row.family, member(row.family, 0)
    inverse, _ = family.inverse_root(covariances, F)
    for used in (1.0, 3.0):
        means = family.entries(F) * (used if family.shared else 1)
        alone = 2 if family.independent else F + 1
        exponent = family.wishart_exponent(jnp.asarray(6.0), F, jnp.asarray(used))
        assert_close(exponent, 6 + alone + means)
    scale = np.asarray(PRIOR.scale)
    kept = np.broadcast_to(family.wishart_scale(jnp.asarray(scale)), covariances.shape)
    if family.independent:
        own = np.diag(scale)
        assert_close(kept[0], np.mean(own) if family.isotropic else own)
        traces = np.sum(kept / covariances, axis=1)
    else:
        traces = np.trace(np.linalg.inv(covariances) @ scale, axis1=1, axis2=2)
    assert_close(family.wishart_traces(inverse, jnp.asarray(scale)), traces)


@for_every_family
@pytest.mark.parametrize("prior", [None, PRIOR], ids=["likelihood", "posterior"])
def test_nothing_is_better_than_what_the_m_step_makes(row: Row, prior: jgmm.Prior | None) -> None:
    """Expected log-likelihood of the complete data plus log-prior, in dense form: a maximum."""
    family, rng = row.family, np.random.default_rng(0)
    counts = np.array([5.0, 1.0, 9.0, 20.0])
    moments, scatters = rng.normal(size=(M, F)), spd(5)
    # In the frame of the mixture that the statistics were taken under.
    here = jgmm.Mixture(
        jnp.ones(M) / M, jnp.asarray(rng.normal(size=(M, F))), member(family, 2), family=family
    )
    inverse, _ = family.inverse_root(here.covariances, F)
    shifts = family.apply(inverse, jnp.asarray(moments) - here.means)
    spread = family.congruence(inverse, family.spreads(jnp.asarray(scatters)))
    weigh = partial(np.multiply, counts.reshape(-1, *(1,) * (spread.ndim - 1)))
    stats = SufficientStats(
        counts=jnp.asarray(counts),
        shifts=counts[:, None] * shifts,
        scatters=jnp.asarray(weigh(spread + family.outer(shifts))),
    )
    best = maximisation(here, stats, family, Floor(variances=jnp.zeros(F)), prior)
    root = family.root(best.covariances)
    kept = dense(family.wide, family.spreads(jnp.asarray(scatters)))

    def expected(log_ratios: jax.Array, shifts: jax.Array, growth: jax.Array) -> jax.Array:
        moved = dataclasses.replace(
            best,
            weights=jax.nn.softmax(jnp.log(best.weights) + log_ratios),
            means=best.means + shifts,
            covariances=family.square(root + family.push(root, growth, F)),
        )
        sigma = family.dense(moved.covariances, M, F)
        gaps = moments - moved.means
        inner = jnp.linalg.solve(sigma, kept + gaps[:, :, None] * gaps[:, None, :])
        each = jnp.linalg.slogdet(sigma)[1] + jnp.trace(inner, axis1=1, axis2=2)
        value = counts @ (jnp.log(moved.weights) - each / 2)
        return value if prior is None else value + log_density(prior, moved)

    zero = np.zeros(M), np.zeros((M, F)), np.zeros(family.tangent_shape(M, F))
    value_and_slopes = program()(jax.value_and_grad(expected, (0, 1, 2)))
    highest, slopes = value_and_slopes(*zero)
    for slope in slopes:
        np.testing.assert_allclose(slope, 0, atol=1e-9)
    for size in (0.01, 0.1):
        step = [size * rng.normal(size=leaf.shape) for leaf in zero]
        assert value_and_slopes(*step)[0] < highest


# --- the pass over the data ---


@for_every_family
@pytest.mark.parametrize("d", [3, 9])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "no gap"])
def test_kernels_whiten(row: Row, d: int, gaps: bool) -> None:
    """Energies, and moments of y = L⁻¹(x - μ), of few features and of more."""
    family, rng = row.family, np.random.default_rng(0)
    means, x = rng.normal(size=(M, d)), rng.normal(size=(6, d))
    r = rng.uniform(0.1, 1, size=(M, 6))
    covariances = member(family, 0, M, d)
    matrices = dense(family, covariances, M, d)
    block = Block(
        features=jnp.asarray(x.T),
        weights=jnp.ones(6),
        observed=jnp.ones((d, 6), bool) if gaps else None,
    )

    @program()
    def run(covariances: jax.Array) -> Any:
        at = jnp.asarray(means)
        kernel = family.gap_kernel(at, covariances) if gaps else family.kernel(
            jnp.ones(M) / M, at, covariances
        )  # fmt: skip
        sums, whitened = kernel.accumulate(block, lambda w: (jnp.asarray(r), w.energy))
        return whitened, kernel.evaluate(block), kernel.moments(sums)

    energy, whitened, (counts, shifts, scatters) = run(covariances)
    y = np.einsum(
        "kij,kjs->kis",
        np.linalg.inv(np.linalg.cholesky(matrices)),
        (x[None] - means[:, None]).swapaxes(1, 2),
    )
    for found in (energy, whitened.energy):
        assert_close(found, -(y**2).sum(1) / 2)
    half = np.linalg.slogdet(matrices)[1] / 2
    assert_close(jnp.broadcast_to(whitened.half_log_det, (M, 6)), half[:, None].repeat(6, 1))
    assert_close(whitened.n_observed, d)
    assert_close(counts, r.sum(1))
    assert_close(shifts, np.einsum("ks,kis->ki", r, y))
    products = jnp.asarray(np.einsum("ks,kis,kjs->kij", r, y, y))
    assert scatters.shape == family.wide.shape(M, d)
    assert_close(scatters, family.spreads(products))


# --- mixtures and fits ---


def first(family: Family) -> jgmm.Mixture:
    """A rough start, for all fits of this file."""
    rough = start("full", X)
    covariances = family.maximise(of_one_sample(jnp.asarray(rough.covariances)))
    return jgmm.Mixture(rough.weights, rough.means, np.asarray(covariances), family=family)


def textbook(mixture: jgmm.Mixture) -> reference.Gmm:
    """The mixture as the reference has it."""
    matrices = mixture.family.dense(mixture.covariances, *mixture.means.shape)
    return reference.Gmm(*map(np.asarray, (mixture.weights, mixture.means, matrices)))


@dataclasses.dataclass(frozen=True)
class Climb:
    """A way to fit, and what it promises."""

    name: str
    fit: Callable[..., jgmm.FitResult]
    never_falls: bool
    gain: float  # what a step of EM may still gain at its end, in nats


OPTIMIZER = optax.adam(optax.exponential_decay(0.1, 100, 0.5))
CLIMBS = (
    Climb("EM", partial(jgmm.fit, accelerate=False, max_iter=500, tol=1e-9), True, 1e-9),
    Climb("SQUAREM", partial(jgmm.fit, max_iter=500, tol=1e-9), True, 1e-9),
    Climb("optax", partial(jgmm.fit_gradient, optimizer=OPTIMIZER, n_steps=500), False, 1e-6),
)


# No family knows of the dtype: in single precision one of matrices, and one of a variance.
PRECISE = [(row, np.float64) for row in ROWS] + [(row, np.float32) for row in (ROWS[0], ROWS[-1])]


@pytest.mark.parametrize(
    ("row", "dtype"), PRECISE, ids=lambda v: v.family.name if isinstance(v, Row) else v.__name__
)
def test_plain_em_is_the_reference(row: Row, dtype: type) -> None:
    x, w, mixture = cast(X, dtype), cast(W, dtype), cast(first(row.family), dtype)
    result = jgmm.fit(
        x, K, weights=w, init=mixture, covariance_type=row.family.name,
        accelerate=False, max_iter=STEPS, tol=0.0, reg_covar=0.0,
    )  # fmt: skip
    exact, x64, w64 = textbook(cast(mixture, np.float64)), cast(x, np.float64), cast(w, np.float64)
    expected, history = reference.fit(exact, x64, w64, row.estimate, np.zeros(D), STEPS)
    assert_history_is_right(result, STEPS)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.mixture)} == {np.dtype(dtype)}
    tolerance = TOLERANCE[np.dtype(dtype)]
    assert_mixtures_close(textbook(cast(result.mixture, np.float64)), expected, tolerance)
    np.testing.assert_allclose(result.history, history, rtol=tolerance)


@for_every_family
@pytest.mark.parametrize("climb", CLIMBS, ids=lambda climb: climb.name)
def test_every_solver_comes_to_a_fixed_point_of_em(row: Row, climb: Climb) -> None:
    family = row.family
    result = climb.fit(X, K, weights=W, init=first(family), covariance_type=family.name)
    assert result.mixture.family is family
    assert result.mixture.covariances.shape == family.shape(K, D)
    assert (np.linalg.eigvalsh(textbook(result.mixture).covariances) > 0).all()
    assert result.status == jgmm.Status.CONVERGED
    history, n = np.asarray(result.history), int(result.n_iter)
    np.testing.assert_array_equal(np.isfinite(history), np.arange(501) <= n)
    np.testing.assert_allclose(np.nanmax(history), result.log_likelihood, rtol=1e-12)
    np.testing.assert_array_equal(result.objective, result.log_likelihood)
    if climb.never_falls:
        assert (np.diff(history[: n + 1]) >= 0).all()
    before = reference.score(textbook(result.mixture), X, W)
    np.testing.assert_allclose(result.log_likelihood, before, rtol=1e-9)
    after, _ = reference.em_step(textbook(result.mixture), X, W, row.estimate, np.zeros(D))
    assert -1e-12 < reference.score(after, X, W) - before < climb.gain


@for_every_family
@pytest.mark.parametrize(("k", "d"), [(1, 1), (1, D), (K, 1), (K, D)])
def test_a_file_keeps_the_family(row: Row, k: int, d: int, tmp_path: Path) -> None:
    """Also of one component or one feature, where the shape would tell of another."""
    family = row.family
    mixture = jgmm.Mixture(
        jnp.ones(k) / k, jnp.arange(float(k * d)).reshape(k, d), member(family, 0, k, d), family
    )
    jgmm.save(tmp_path / "model", mixture)
    loaded = jgmm.load(tmp_path / "model")
    assert loaded.family is family
    assert loaded.covariance_type == family.name
    for before, after in zip(jax.tree.leaves(mixture), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(before, after)


@for_every_family
def test_a_family_is_no_value(row: Row) -> None:
    """It is part of the structure of a mixture, named or as itself, and no leaf of it."""
    mixture = first(row.family)
    named = dataclasses.replace(mixture, family=row.family.name)
    assert named.family is row.family
    assert len(jax.tree.leaves(mixture)) == 3
    assert jax.tree.structure(named) == jax.tree.structure(mixture)
    lanes = dataclasses.replace(mixture, weights=None, means=0, covariances=None)
    means = jnp.stack([jnp.asarray(mixture.means)] * 2)
    stacked = dataclasses.replace(jax.tree.map(jnp.asarray, mixture), means=means)
    out = jax.vmap(lambda m: m.means @ m.means.T, in_axes=(lanes,))(stacked)
    assert out.shape == (2, K, K)
    for moved in (take(mixture, slice(1, None)), pad(mixture, 5)):
        assert moved.family is row.family
        assert checked(moved) is moved


# Clusters apart, where EM converges within a few steps; of the same shape, for the same programs.
APART = 0.5 * X + 6 * np.eye(D)[np.arange(N) % K]


@for_every_family
def test_the_derivative_of_a_fit_is_its_finite_difference(row: Row) -> None:
    family = row.family
    change = np.random.default_rng(2).normal(size=X.shape)
    rng = np.random.default_rng(3)
    begin = dataclasses.replace(first(family), means=6 * np.eye(D))
    pulls = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), begin)

    def fit(pixels: Any) -> jgmm.FitResult:
        return jgmm.fit(
            pixels, K, weights=W, init=begin, covariance_type=family.name,
            accelerate=False, max_iter=100, tol=0.0,
        )  # fmt: skip

    def summary(mixture: jgmm.Mixture, log_likelihood: Any, xp: Any) -> tuple[Any, Any]:
        """A number to which every parameter contributes, and the likelihood."""
        products = jax.tree.map(lambda a, b: xp.sum(a * b), mixture, pulls)
        return sum(jax.tree.leaves(products)), log_likelihood

    step = 1e-4
    nearby = [cast(fit(APART + h * change), np.float64) for h in (step, -step)]
    up, down = (np.array(summary(f.mixture, f.log_likelihood, np)) for f in nearby)
    best = fit(APART)
    slopes = slope_at_the_end(functools.partial(summary, xp=jnp), best, APART, change, W)
    np.testing.assert_allclose(slopes, (up - down) / (2 * step), rtol=1e-5)


def test_a_family_works_everywhere(tmp_path: Path) -> None:
    """By its name alone: nothing but the table knows of it."""
    family = ROWS[-1].family
    options: dict[str, Any] = {"covariance_type": "EII", "tol": 1e-12}
    result = jgmm.fit(X, K, **options)
    mixture = result.mixture
    assert result.status == jgmm.Status.CONVERGED
    assert mixture.family is family
    assert mixture.covariances.shape == (1, 1)
    exact = textbook(mixture)
    np.testing.assert_allclose(
        result.log_likelihood, reference.score(exact, X, np.ones(N)), rtol=1e-9
    )
    np.testing.assert_array_equal(
        jgmm.predict(mixture, X), reference.responsibilities(exact, X).argmax(1)
    )
    swept = jgmm.sweep(X, [2, K], **options)
    np.testing.assert_array_equal(swept[K].mixture.means, mixture.means)
    assert swept[2].mixture.covariances.shape == (1, 1)
    # Means, weights, and one variance.
    parameters = K * D + K - 1 + 1
    bic = -2 * N * float(result.log_likelihood) + parameters * np.log(N)
    np.testing.assert_allclose(swept.bic[1, 0], bic, rtol=1e-9)
    best = jgmm.sweep_families(X, [2, K], ["EII"]).best().mixture
    assert best.covariance_type == "EII"
    jgmm.save(tmp_path / "model", mixture)
    assert jgmm.load(tmp_path / "model").family is family
    assert jgmm.standard_errors(mixture, X).covariances.shape == (1, 1)
    gaps = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    known = np.where(np.arange(N) < 9, np.arange(N) % K, -1)
    together = jgmm.fit(gaps, K, covariance_type="EII", prior="weak", missing="nan", labels=known)
    assert together.status == jgmm.Status.CONVERGED
    assert (np.diff(together.history[: int(together.n_iter) + 1]) >= 0).all()
