"""Moves keep to the family and the floor; the best that differ survive; traced or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgmm._struct import build
from jgmm.data.programs import program
from jgmm.families.table import FAMILIES
from jgmm.fitting.moves import lots, merges_of, move
from jgmm.fitting.population import descendants, survivors, worth
from jgmm.mixture.mixture import Mixture

K, D = 4, 3
FLOOR = np.full(D, 1e-3)


def mixture(family: str, seed: int = 0, k: int = K) -> Mixture:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, D, D)) / 3
    matrices = roots @ roots.transpose(0, 2, 1) + np.diag(FLOOR)
    weights = rng.dirichlet(np.ones(k))
    kind = FAMILIES[family]
    covariances = kind.shared_out(matrices, weights)
    return build(
        Mixture,
        weights=weights,
        means=rng.normal(size=(k, D)),
        covariances=covariances,
        family=kind,
    )


def test_lots_fill_the_cube_evenly() -> None:
    table = lots(8, 12).reshape(-1, 3)
    assert table.shape == (96, 3)
    assert ((table >= 0) & (table < 1)).all()
    for column in table.T:
        counts, _ = np.histogram(column, 8, (0, 1))
        assert counts.min() >= 8
    cells = np.unique(np.floor(2 * table), axis=0)
    assert len(cells) == 8


@pytest.mark.parametrize("family", FAMILIES)
def test_moves_keep_to_the_family_and_the_floor(family: str) -> None:
    here = mixture(family)
    kind = here.family
    traced = program(once=True)(move)
    for lot in lots(2, 10).reshape(-1, 3):
        moved = move(here, merges_of(here), FLOOR, lot)
        assert isinstance(moved.means, np.ndarray)
        assert moved.covariances.shape == kind.shape(K, D)
        np.testing.assert_allclose(moved.weights.sum(), 1)
        dense = np.asarray(kind.dense(moved.covariances, K, D))
        assert (np.linalg.eigvalsh(dense - np.diag(FLOOR)) > -1e-12).all()
        assert np.abs(moved.means - here.means).max() > 1e-3
        # What a mixture is on the whole stays: it was only divided in another way.
        np.testing.assert_allclose(moved.weights @ moved.means, here.weights @ here.means)
        again = traced(jax.tree.map(jnp.asarray, here), merges_of(here), FLOOR, lot)
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_the_pair_that_hardly_differs_costs_least() -> None:
    here = mixture("full")
    means, covariances = here.means.copy(), here.covariances.copy()
    means[2], covariances[2] = means[0] + 1e-3, covariances[0]
    close = build(
        Mixture, weights=here.weights, means=means, covariances=covariances, family=here.family
    )
    costs, merged = merges_of(close)
    assert np.unravel_index(np.argmin(costs), costs.shape) == (0, 2)
    assert costs[0, 2] < 1e-3
    np.testing.assert_allclose(merged[0, 2], covariances[0], atol=1e-5)
    assert np.isinf(costs[np.tril_indices(K)]).all()


def test_where_there_is_no_pair_nothing_moves() -> None:
    here = mixture("full")
    alone = build(
        Mixture,
        weights=np.array([0, 1.0, 0, 0]),
        means=here.means,
        covariances=here.covariances,
        family=here.family,
    )
    with np.errstate(all="ignore"):
        moved = move(alone, merges_of(alone), FLOOR, np.full(3, 0.3, np.float32))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(a, b)


def several(*values: float) -> tuple[Mixture, np.ndarray]:
    each = [mixture("full", seed) for seed in range(len(values))]
    return jax.tree.map(lambda *leaf: np.stack(leaf), *each), np.array(values)


def test_the_best_that_differ_survive_and_the_best_fills_what_is_left() -> None:
    mixtures, values = several(1.0, 3.0, 3.00001, np.nan, 2.0, np.inf)
    for these, those in ((mixtures, values), jax.tree.map(jnp.asarray, (mixtures, values))):
        found, n = survivors(these, those, 4)
        assert int(n) == 3
        chosen = [2, 4, 0, 2]
        np.testing.assert_array_equal(found.means, mixtures.means[chosen])
        few, n = survivors(these, those, 2)
        assert int(n) == 2
        np.testing.assert_array_equal(few.means, mixtures.means[chosen[:2]])
    none, n = survivors(mixtures, np.full(6, np.nan), 2)
    assert int(n) == 1
    assert np.isfinite(none.means).all()


def test_a_spike_is_charged_for_where_samples_are_few() -> None:
    mixtures, values = several(0.0, 0.5)
    mixtures.covariances[1, 0] = 1e-6 * np.eye(D)
    few, many = (worth(mixtures, values, n) for n in (150.0, 1e6))
    assert few[1] < few[0]
    assert many[1] > many[0]
    np.testing.assert_allclose(many, values, atol=3e-3)
    usual = worth(*several(0.0, 0.5), 150.0)
    np.testing.assert_allclose(usual, [0.0, 0.5], atol=5e-2)
    mixtures.covariances[0] = np.nan
    assert worth(mixtures, np.array([np.nan, 0.0]), 150.0).shape == (2,)


@pytest.mark.parametrize("n", [1, 2])
def test_those_that_go_on_come_first_and_moves_from_each_follow(n: int) -> None:
    parents, _ = several(2.0, 1.0)
    table = lots(1, 5)[0]
    tried = descendants(parents, n, table, FLOOR)
    traced = program(once=True)(descendants)(jax.tree.map(jnp.asarray, parents), n, table, FLOOR)
    for i in range(n):
        np.testing.assert_array_equal(tried.means[i], parents.means[i])
    for i in range(n, 5):
        changed = np.abs(tried.means[i] - parents.means[i % n]).max(axis=1) > 0
        assert 2 <= changed.sum() <= 3
    for a, b in zip(jax.tree.leaves(tried), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
