"""Where EM starts: a table of named starts, and starts from what the caller knows already.

All work on a problem, whose samples are in a frame where every feature is of order one; features
that were not observed are average there. A new start is a function here and a line in `STARTS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import amend, build
from jgmm.clustering import lloyd
from jgmm.clustering.plus_plus import plus_plus
from jgmm.data.fold import fold_sum, seen_weights
from jgmm.data.products import dot
from jgmm.data.samples import Block, Span, block_size, make_samples
from jgmm.data.subsample import subsample
from jgmm.em.maximisation import maximisation
from jgmm.em.problem import Problem
from jgmm.em.statistics import SufficientStats, hard, statistics
from jgmm.families.family import Family
from jgmm.families.kernels import Whitened
from jgmm.mixture.mixture import Mixture

Start = Callable[[Problem, Array, Array], Mixture]
_TOL, _MAX_ITER = 1e-4, 100  # of k-means


def spheres(means: Array, used: Array, family: Family) -> Mixture:
    """Equal components of unit covariance around ``means`` [K, D], the origin of statistics."""
    wide = family.wide
    k, d = means.shape
    unit = wide.spreads(jnp.eye(d, dtype=means.dtype)[None])
    return build(
        Mixture,
        weights=used.astype(means.dtype) / jnp.sum(used, dtype=means.dtype),
        means=means,
        covariances=jnp.broadcast_to(unit, wide.shape(k, d)),
        family=wide,
    )


def _estimate(problem: Problem, origin: Mixture, stats: SufficientStats) -> Mixture:
    """The M-step without a prior, over a floor that keeps it from collapsing."""
    return maximisation(origin, stats, problem.family, problem.start_floor)


def from_means(problem: Problem, means: Array, used: Array) -> Mixture:
    """Equal weights, the means as given, and one covariance for all components.

    It is that of the samples around the mean nearest to each, so that no component starts out
    empty or collapsed.
    """
    origin = spheres(means, used, problem.family)
    cells = _estimate(problem, origin, statistics(origin, problem.samples, hard(origin)))
    return amend(
        cells,
        weights=origin.weights,
        means=means,
        covariances=problem.family.average(cells.covariances, cells.weights),
    )


def kmeans(problem: Problem, used: Array, key: Array) -> Mixture:
    """The mixture of the clusters that k-means finds: their shares, means and covariances.

    It looks for them among as many samples as a subsample has.
    """
    k, dtype = len(used), problem.weight.dtype
    tol, max_iter = jnp.asarray(_TOL, dtype), jnp.asarray(_MAX_ITER, jnp.int32)
    few = subsample(problem.samples, key)
    parts = [make_samples(few, block_size(k, problem.samples.n_features, dtype))]
    found = lloyd.cluster(parts, few, k, used, key, tol, max_iter)
    origin = spheres(found.centroids, used, problem.family)
    return _estimate(problem, origin, statistics(origin, problem.samples, hard(origin)))


def kmeans_plus_plus(problem: Problem, used: Array, key: Array) -> Mixture:
    """Means that k-means++ chooses among the samples."""
    few = subsample(problem.samples, key)
    means = plus_plus(few.features.T, few.weights, len(used), key)
    return from_means(problem, means, used)


def random_from_data(problem: Problem, used: Array, key: Array) -> Mixture:
    """Means that are different samples, drawn with probability proportional to their weight."""
    few_key, noise_key = jax.random.split(key)
    few = subsample(problem.samples, few_key)
    # The largest of log weight + Gumbel noise are a draw without replacement (Vieira 2014).
    noise = jax.random.gumbel(noise_key, few.weights.shape, few.weights.dtype)
    _, index = lax.top_k(jnp.log(few.weights) + noise, len(used))
    return from_means(problem, few.features[index], used)


def random(problem: Problem, used: Array, key: Array) -> Mixture:
    """Components of random responsibilities, uniform draws that are made to sum to one."""
    samples = problem.samples
    axis = samples.layout.axis
    if axis is not None:
        key = jax.random.fold_in(key, lax.axis_index(axis.name))
    numbers = jnp.arange(len(samples.weights), dtype=jnp.int32)
    if isinstance(samples.visited, Span):  # counted from the first that is visited
        numbers = numbers - samples.visited.start
    numbered = dataclasses.replace(samples, hints=numbers)

    def draw(block: Block) -> Array:
        assert block.hints is not None
        shape = (len(used), *block.weights.shape)
        lots = jax.random.uniform(jax.random.fold_in(key, block.hints), shape, block.weights.dtype)
        lots = jnp.where(used[:, None], lots, 0)
        return lots / jnp.sum(lots, axis=0)

    return _from_responsibilities(problem.on(numbered), used, draw)


STARTS: dict[str, Start] = {
    "kmeans": kmeans,
    "k-means++": kmeans_plus_plus,
    "random": random,
    "random_from_data": random_from_data,
}


def from_responsibilities(problem: Problem, used: Array) -> Mixture:
    """The M-step of responsibilities [K, S] that blocks have as hints."""

    def given(block: Block) -> Array:
        assert block.hints is not None
        return jnp.pad(block.hints, ((0, len(used) - len(block.hints)), (0, 0)))

    return _from_responsibilities(problem, used, given)


def from_labels(problem: Problem, used: Array) -> Mixture:
    """The M-step of labels [S] that blocks have as hints; those below 0 are unknown."""

    def one_hot(block: Block) -> Array:
        assert block.hints is not None
        index = jnp.arange(len(used), dtype=block.hints.dtype)[:, None]
        return (block.hints == index).astype(block.weights.dtype)

    return _from_responsibilities(problem, used, one_hot)


def _from_responsibilities(
    problem: Problem, used: Array, shares: Callable[[Block], Array]
) -> Mixture:
    d = problem.samples.n_features
    origin = spheres(jnp.zeros((len(used), d), problem.weight.dtype), used, problem.family)

    def weighted(block: Block, whitened: Whitened) -> Array:
        return shares(block) * block.weights

    return _estimate(problem, origin, statistics(origin, problem.samples, weighted))


def by_name(problem: Problem, used: Array, key: Array, name: str) -> Mixture:
    """The start of that name, with labelled samples at their components."""
    start = STARTS[name](problem, used, key)
    if problem.samples.labels is not None:
        start = match_labels(problem, start, used)
    return problem.distributed(start)


def match_labels(problem: Problem, start: Mixture, used: Array) -> Mixture:
    """A start whose components stand where the samples known to be theirs are.

    The components without a label take what the labelled ones leave: each label in turn takes
    the place of the component nearest to its samples.
    """
    k = start.n_components
    index = jnp.arange(k, dtype=jnp.int32)[:, None]

    def visit(block: Block) -> tuple[Array, Array]:
        mine = jnp.where(block.labels == index, block.weights, 0)
        seen = jnp.broadcast_to(seen_weights(block) > 0, block.features.shape)
        return dot(mine, block.features.T), dot(mine, seen.astype(mine.dtype).T)

    total, mass = fold_sum(visit, problem.samples).value
    labelled = jnp.any(mass > 0, axis=1)
    known = total / jnp.where(mass > 0, mass, 1)

    def place(i: Array, means: Array) -> Array:
        # Components before i that are labelled have their places already.
        taken = labelled & (jnp.arange(k) < i)
        gaps = jnp.sum((means - known[i]) ** 2, axis=1)
        nearest = jnp.argmin(jnp.where(taken | ~used, jnp.inf, gaps))
        swapped = means.at[nearest].set(means[i]).at[i].set(known[i])
        return jnp.where(labelled[i], swapped, means)

    return from_means(problem, lax.fori_loop(0, k, place, start.means), used)
