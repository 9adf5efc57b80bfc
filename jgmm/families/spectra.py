"""Variances along axes that are known: what volumes and shapes may have in common.

The variances of component k along its D axes are a volume λ_k times a shape A_k, whose product is
1; either may be free (V) or the same for all components (E). Given the totals T [K, D] of squares
along the axes and the masses m [K], the likeliest variances e minimise

    Σ_k m_k Σ_j log e_kj + Σ_kj T_kj / e_kj

(Celeux and Govaert 1995), here among those that are nowhere less than ``least``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm.data.arrays import module_of

MOST = 200  # turns of an iteration
_Turn = tuple[Array, Array, Array, Array]
_HALVINGS = 60

# Totals [K, D], masses [K], components that count [K], the least variance, and volumes to start
# from [K].
Solve = Callable[[Array, Array, Array, Array, Array], Array]


def free(totals: Array, mass: Array, used: Array, least: Array, volumes: Array) -> Array:
    """VV: each on its own."""
    return jnp.maximum(totals / mass[:, None], least)


def equal(totals: Array, mass: Array, used: Array, least: Array, volumes: Array) -> Array:
    """EE: one row of variances for all."""
    pooled, weight = _pooled(totals, mass, used)
    return jnp.broadcast_to(jnp.maximum(pooled / weight, least), totals.shape)


def equal_shapes(totals: Array, mass: Array, used: Array, least: Array, volumes: Array) -> Array:
    """VE: shape and volumes in turn, each the best for the other, until they stay.

    What they minimise is convex in their logarithms. No turn makes it worse. Of λ_k a_j >= least it
    asks λ_k >= 1 and a_j >= least, which is no more as λ may be larger by what A is smaller.
    """
    _, weight = _pooled(totals, mass, used)

    def turn(volumes: Array) -> tuple[Array, Array]:
        shape = jnp.sum(jnp.where(used[:, None], totals / volumes[:, None], 0), axis=0) / weight
        shape = jnp.maximum(shape, least)
        return jnp.mean(totals / shape, axis=1) / mass, shape

    volumes, shape = in_turn(turn, volumes, jnp.ones_like(totals[0]), used, least)
    return volumes[:, None] * shape


def in_turn(
    turn: Callable[[Array], tuple[Array, Array]],
    volumes: Array,
    shape: Array,
    used: Array,
    least: Array,
) -> tuple[Array, Array]:
    """Volumes [K] of components, and the shape that they share, each the best for the other.

    Args:
        turn: from volumes to the best shape for them, and the best volumes for that.
        volumes: to start from.
        shape: an array of its form.
        used: components that count [K].
        least: 1 where there is a floor, which is under volumes and shape both, or 0.
    """
    tol = 8 * float(np.finfo(volumes.dtype).eps)
    smallest = jnp.min(jnp.where(used, volumes, jnp.inf))
    volumes = volumes / jnp.where(jnp.isfinite(smallest), smallest, 1)  # in units of the least

    def further(state: _Turn) -> _Turn:
        volumes, _, _, n = state
        following, shape = turn(volumes)
        following = jnp.where(least > 0, jnp.maximum(following, 1), following)
        change = jnp.max(jnp.where(used, jnp.abs(following / volumes - 1), 0))
        return following, shape, change, n + 1

    def goes_on(state: _Turn) -> Array:
        return (state[2] > tol) & (state[3] < MOST)

    far = jnp.full((), jnp.inf, volumes.dtype)
    begin = volumes, shape, far, jnp.zeros((), jnp.int32)
    volumes, shape, _, _ = lax.while_loop(goes_on, further, begin)
    return volumes, shape


def equal_volumes(totals: Array, mass: Array, used: Array, least: Array, volumes: Array) -> Array:
    """EV: the volume is the mean of those that the components would have on their own."""
    values = totals / mass[:, None]
    sizes = jnp.exp(jnp.mean(jnp.log(values), axis=1))
    pooled, weight = _pooled((mass * sizes)[:, None], mass, used)
    alike = values / sizes[:, None] * (pooled / weight)

    def raised(alike: Array) -> Array:
        tiny = float(np.finfo(values.dtype).tiny)
        return least * _equal_volumes_above_one(jnp.maximum(values / least, tiny), mass, used)

    low = jnp.any(used[:, None] & ~(alike >= least)) & (least > 0)
    return lax.cond(low, raised, lambda alike: alike, alike)


def _equal_volumes_above_one(values: Array, mass: Array, used: Array) -> Array:
    """The same where no variance may be below 1.

    For components of log volume c the variances are max(1, v_kj exp t_k), with t_k such that their
    logarithms sum to c. The best c is where Σ m_k (1 - exp -t_k) = 0, which rises with c.
    """
    logs = jnp.sort(jnp.log(values), axis=1)[:, ::-1]
    sums, counts = jnp.cumsum(logs, axis=1), jnp.arange(1, logs.shape[1] + 1, dtype=logs.dtype)

    def lifts(volume: Array) -> Array:
        return jnp.min((volume - sums) / counts, axis=1)

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        slope = jnp.sum(jnp.where(used, mass * -jnp.expm1(-lifts(middle)), 0))
        return jnp.where(slope < 0, middle, low), jnp.where(slope < 0, high, middle)

    own = jnp.sum(jnp.maximum(logs, 0), axis=1)
    bounds = jnp.zeros_like(own[0]), jnp.max(jnp.where(used, own, 0))
    volume = lax.fori_loop(0, _HALVINGS, halve, bounds)[1]
    return jnp.maximum(values * jnp.exp(lifts(volume))[:, None], 1)


SOLVERS: dict[str, Solve] = {
    "VV": free,
    "VE": equal_shapes,
    "EV": equal_volumes,
    "EE": equal,
}


def alike(values: Any, weights: Any, kinds: str) -> Any:
    """Variances [K, D] made into ones of such volumes and shapes, without iteration.

    Those that are such already stay as they are. ``weights`` [K], which sum to 1, say how much each
    counts for what is the same for all. NumPy arrays stay so.
    """
    xp, shares = module_of(values), weights[:, None]
    if kinds == "EE":
        return xp.broadcast_to((shares * values).sum(axis=0), values.shape)
    if kinds == "VE":
        sizes = values.mean(axis=1, keepdims=True)
        return sizes * (shares * (values / sizes)).sum(axis=0)
    if kinds == "EV":
        sizes = xp.exp(xp.log(values).mean(axis=1, keepdims=True))
        return values / sizes * (shares * sizes).sum()
    return values


def _pooled(totals: Array, mass: Array, used: Array) -> tuple[Array, Array]:
    """Sums over the components that count."""
    weight = jnp.sum(jnp.where(used, mass, 0))
    return jnp.sum(jnp.where(used[:, None], totals, 0), axis=0), jnp.where(weight > 0, weight, 1)
