"""The M-step by itself, with and without a prior, from the statistics that an E-step takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, W, X, assert_mixtures_close, plain, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.maximisation import maximisation
from jgmm.em.statistics import SufficientStats, expectation, hard, statistics
from jgmm.families.floor import Floor, Ridge
from jgmm.families.table import family_of

SAMPLES = Rows(features=X, weights=W)
NONE = np.zeros(D)
PRIOR = jgmm.Prior(
    concentration=np.array(1.7),
    mean=X.mean(0) + 0.3,
    mean_strength=np.array(2.0),
    scale=np.cov(X.T) + 0.1 * np.eye(D),
    dof=np.array(6.0),
)
# Where the statistics are taken, and what is made of them.
PAIRS = [
    (a, b) for a in FAMILIES for b in FAMILIES if a in ("full", "tied") or b not in ("full", "tied")
]


@program(once=True)
def e_step(mixture: jgmm.Mixture, rows: Rows) -> SufficientStats:
    return expectation(mixture, make_samples(jax.tree.map(jnp.asarray, rows), 128))[0]


def m_step(
    mixture: jgmm.Mixture, stats: SufficientStats, family: str, floor: Any = NONE, prior: Any = None
) -> jgmm.Mixture:
    kept = floor if isinstance(floor, Ridge) else Floor(variances=jnp.asarray(floor))
    return maximisation(mixture, stats, family_of(family), kept, prior)


def shares(mixture: jgmm.Mixture) -> np.ndarray:
    return reference.responsibilities(plain(mixture), X) * W[:, None]


@pytest.mark.parametrize(("source", "family"), PAIRS)
def test_it_is_the_reference_whatever_frame_the_statistics_are_in(source: str, family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(source, X))
    stats = e_step(mixture, SAMPLES)
    for floor in (NONE, np.array([1.0, 2.0, 3.0])):
        fitted = m_step(mixture, stats, family, floor)
        assert fitted.covariance_type == family
        assert_mixtures_close(fitted, reference.m_step(X, shares(mixture), family, floor), 1e-9)


@pytest.mark.parametrize(("source", "family"), PAIRS)
def test_with_a_prior_it_is_the_reference(source: str, family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(source, X))
    fitted = m_step(mixture, e_step(mixture, SAMPLES), family, prior=PRIOR)
    assert fitted.covariance_type == family
    expected = reference.map_m_step(X, shares(mixture), family, PRIOR)
    assert_mixtures_close(fitted, expected, 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flat_prior_is_none(family: str) -> None:
    """In the limit: of no strength, no scale, and as many degrees of freedom as cancel."""
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    stats = e_step(mixture, SAMPLES)
    exponent = mixture.family.wishart_exponent(jnp.zeros(()), D, jnp.asarray(float(K)))
    flat = jgmm.Prior(
        concentration=jnp.ones(()),
        mean=jnp.zeros(D),
        mean_strength=jnp.zeros(()),
        scale=jnp.zeros((D, D)),
        dof=-exponent,
    )
    free = m_step(mixture, stats, family)
    assert_mixtures_close(m_step(mixture, stats, family, prior=flat), free, 1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ridge_is_added(family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    stats = e_step(mixture, SAMPLES)
    ridge = np.array([0.1, 0.2, 0.6])
    free, ridged = (
        plain(m_step(mixture, stats, family, floor))
        for floor in (NONE, Ridge(variances=jnp.asarray(ridge)))
    )
    added = np.diag(np.full(D, ridge.mean()) if family == "spherical" else ridge)
    np.testing.assert_allclose(ridged.covariances, free.covariances + added, rtol=1e-12)
    np.testing.assert_array_equal(ridged.means, free.means)


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["likelihood", "posterior"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_component_that_explains_nothing_stays_and_has_no_say(family: str, prior: Any) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    unused = dataclasses.replace(mixture, weights=jnp.array([0.4, 0.0, 0.6]))
    fitted = m_step(unused, e_step(unused, SAMPLES), family, prior=prior)
    assert fitted.weights[1] == 0
    np.testing.assert_array_equal(fitted.means[1], mixture.means[1])
    if family != "tied":
        np.testing.assert_array_equal(fitted.covariances[1], mixture.covariances[1])
    two = np.array([0, 2])
    r = shares(unused)[:, two]
    expected = (
        reference.m_step(X, r, family, NONE)
        if prior is None
        else reference.map_m_step(X, r, family, prior)
    )
    assert_mixtures_close(reference.Gmm(*(leaf[two] for leaf in plain(fitted))), expected, 1e-9)


def test_a_prior_against_small_components_empties_them() -> None:
    """The mode of a Dirichlet of concentration below 1 has weights that are 0."""
    mixture = jax.tree.map(jnp.asarray, start("full", X))
    stats = e_step(mixture, SAMPLES)
    least = float(stats.counts.min())
    sparse = dataclasses.replace(PRIOR, concentration=np.array(-least))
    fitted = m_step(mixture, stats, "full", prior=sparse)
    assert int((fitted.weights == 0).sum()) == 1
    np.testing.assert_allclose(fitted.weights.sum(), 1, rtol=1e-12)


def test_statistics_add_up_over_chunks_of_the_data() -> None:
    mixture = jax.tree.map(jnp.asarray, start("full", X))
    halves = [Rows(features=X[i::2], weights=W[i::2]) for i in (0, 1)]
    parts = [e_step(mixture, rows) for rows in halves]
    total = jax.tree.map(jnp.add, *parts)
    assert_mixtures_close(
        m_step(mixture, total, "full"), m_step(mixture, e_step(mixture, SAMPLES), "full"), 1e-9
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_each_sample_may_belong_to_one_component_alone(family: str) -> None:
    """Classification EM (Celeux and Govaert 1992), which starts are made by."""
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    rows = jax.tree.map(jnp.asarray, SAMPLES)
    stats = program(once=True)(lambda m: statistics(m, make_samples(rows, 128), hard(m)))(mixture)
    labels = reference.responsibilities(plain(mixture), X).argmax(1)
    np.testing.assert_allclose(stats.counts, W @ np.eye(K)[labels], rtol=1e-12)
    expected = reference.m_step(X, np.eye(K)[labels] * W[:, None], family, NONE)
    assert_mixtures_close(m_step(mixture, stats, family), expected, 1e-9)
