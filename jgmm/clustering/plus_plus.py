"""k-means++: a start for k-means (Arthur and Vassilvitskii 2007), in its greedy form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

# Candidates that each k-means++ step chooses from: scikit-learn's 2 + log k for k from 8 to 20.
# One number for all k, so that a start of k centroids is the beginning of a start of k + 1.
_TRIALS = 4


def squared_distances(centroids: Array, samples: Array) -> Array:
    """Squared distances [K, S] of centroids [K, D] and samples [D, S], without cancellation."""
    differences = samples[None] - centroids[:, :, None]
    return jnp.sum(differences**2, axis=1)


def plus_plus(samples: Array, weights: Array, k: int, key: Array) -> Array:
    """Greedy k-means++: k centroids [k, D] among samples [D, M] with weights [M].

    Each is the best of a few drawn with probability proportional to weight times squared distance
    to the nearest centroid so far; the first is drawn in proportion to the weights.
    """
    with jax.threefry_partitionable(True):  # so that the first k of more are the same k
        dice = jax.random.uniform(key, (k, _TRIALS, 2), samples.dtype)

    def draw(dice: Array, mass: Array) -> Array:
        """An index into ``mass`` with that probability, by rows first: float32 has the digits."""
        width = max(1, int(mass.size**0.5))
        rows = jnp.pad(mass, (0, -mass.size % width)).reshape(-1, width)
        row = _search(jnp.cumsum(jnp.sum(rows, axis=1)), dice[0])
        return jnp.minimum(row * width + _search(jnp.cumsum(rows[row]), dice[1]), mass.size - 1)

    def add(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids, distances = carry
        first = i == 0
        mass = jnp.where(first, weights, weights * distances)
        candidates = samples[:, jax.vmap(draw, (0, None))(dice[i], mass)].T
        found = squared_distances(candidates, samples)
        left = jnp.where(first, found, jnp.minimum(distances, found))
        best = jnp.where(first, 0, jnp.argmin(left @ weights))
        return centroids.at[i].set(candidates[best]), left[best]

    start = jnp.zeros((k, len(samples)), samples.dtype), jnp.zeros_like(weights)
    return lax.fori_loop(0, k, add, start)[0]


def _search(cumulative: Array, u: Array) -> Array:
    """The first index where the cumulative mass exceeds the fraction ``u`` of the whole."""
    total = cumulative[-1]
    # Rounded up to 1, the fraction would point behind the last index that has any mass.
    below = cumulative <= jnp.minimum(u, 1 - 1e-6) * total
    return jnp.where(total > 0, jnp.sum(below, dtype=jnp.int32), 0)
