"""Covariances with common axes: mclust's VEE, EVE and VVE.

Where only volumes differ (VEE), shape and axes are one matrix. Where shapes differ too, the axes
are common principal components (Flury 1984; Browne and McNicholas 2014). Pairs of axes are turned
in their plane, each to where the likelihood is highest while the variances stay (Flury and Gautschi
1986), and then the variances are the best along the axes, until nothing is gained. Turning pairs
that have no axis in common at once, as Jacobi's method may, leaves D - 1 rounds to a sweep.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm.data.products import along, einsum
from jgmm.families import axes as _axes
from jgmm.families.family import Family
from jgmm.families.floor import clip_matrices
from jgmm.families.matrices import Full
from jgmm.families.restrained import Restrained
from jgmm.families.spectra import MOST, in_turn

_Sweep = tuple[Array, Array, Array, Array, Array]


class _CommonAxes(Restrained, Full):
    """Matrices [K, D, D], restrained."""

    def spectrum(self, covariances: Any, weights: Any) -> tuple[Any, Any]:
        """Along the axes that all share."""
        return _axes.common(covariances, weights)


class VEE(_CommonAxes):
    """One matrix but for its size, [K, D, D]."""

    name = "VEE"

    def member(self, covariances: Any, weights: Any) -> Any:
        """Sizes by the traces, and a mean matrix."""
        sizes = covariances.trace(axis1=-2, axis2=-1)[:, None, None]
        shares = _axes.shares(weights)[:, None, None]
        matrix = (shares * (covariances / sizes)).sum(axis=0)
        return sizes * matrix

    def solve(self, totals: Array, mass: Array, used: Array, least: Array, current: Array) -> Array:
        """Matrix and sizes in turn, each the best for the other, until they stay.

        A floor is under both, as under shape and volumes in `equal_shapes`.
        """
        d = totals.shape[-1]
        shares = along(used.astype(totals.dtype), totals)
        weight = jnp.sum(jnp.where(used, mass, 0))
        weight = jnp.where(weight > 0, weight, 1)

        def turn(sizes: Array) -> tuple[Array, Array]:
            matrix = jnp.sum(shares * totals / along(sizes, totals), axis=0, keepdims=True) / weight
            matrix = clip_matrices(matrix, jnp.broadcast_to(least, (d,)))
            inverse, _ = self.inverse_root(matrix, d)
            traces = jnp.trace(self.congruence(inverse, totals), axis1=1, axis2=2)
            return traces / (d * mass), matrix

        sizes = jnp.trace(current, axis1=1, axis2=2)
        sizes, matrix = in_turn(turn, sizes, jnp.zeros_like(totals[:1]), used, least)
        return along(sizes, totals) * matrix


class _CommonPrincipal(_CommonAxes):
    """Common principal components."""

    isotropic = True

    @property
    def parts(self) -> Family:
        """Some features know no restraint."""
        return Full()

    def solve(self, totals: Array, mass: Array, used: Array, least: Array, current: Array) -> Array:
        """Sweeps over all pairs of axes, and the best variances after each."""
        d = totals.shape[-1]
        tol = 4 * float(np.finfo(totals.dtype).eps)
        rounds = jnp.asarray(_partners(d))
        weight = jnp.sum(jnp.where(used, mass, 0))
        volumes = jnp.ones_like(mass)

        def variances(inner: Array) -> Array:
            squares = jnp.diagonal(inner, 0, -2, -1)
            return self.solve_spectrum(squares, mass, used, least, volumes)

        def sweep(state: _Sweep) -> _Sweep:
            axes, inner, spectrum, _, n = state
            precisions = jnp.where(used[:, None], 1 / spectrum, 0)

            def turn(
                state: tuple[Array, Array, Array], partner: Array
            ) -> tuple[tuple[Array, Array, Array], None]:
                axes, inner, gain = state
                rotation, more = _rotation(inner, precisions, partner)
                inner = einsum("ji,kjl,lm->kim", rotation, inner, rotation)
                axes = einsum("kij,jl->kil", axes, rotation)
                return (axes, (inner + inner.swapaxes(1, 2)) / 2, gain + more), None

            begin = axes, inner, jnp.zeros((), totals.dtype)
            (axes, inner, gain), _ = lax.scan(turn, begin, rounds)
            return axes, inner, variances(inner), gain, n + 1

        def goes_on(state: _Sweep) -> Array:
            return (state[3] > tol * weight) & (state[4] < MOST)

        axes = _axes.common(current, jnp.where(used, mass, 0))[1]
        inner = self.congruence(axes.swapaxes(1, 2), totals)
        far = jnp.full((), jnp.inf, totals.dtype)
        begin = axes, inner, variances(inner), far, jnp.zeros((), jnp.int32)
        axes, _, spectrum, _, _ = lax.while_loop(goes_on, sweep, begin)
        return _axes.assemble(spectrum, axes)


class EVE(_CommonPrincipal):
    """One volume, [K, D, D]."""

    name = "EVE"


class VVE(_CommonPrincipal):
    """Volumes and shapes of their own, [K, D, D]."""

    name = "VVE"


def _partners(d: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """Rounds in which all axes meet each other once, [rounds, D]; who sits out meets itself."""
    n = d + d % 2
    order = list(range(n))
    rounds = []
    for _ in range(n - 1):
        partner = np.arange(d, dtype=np.int32)
        for i, j in zip(order[: n // 2], order[: n // 2 - 1 : -1], strict=True):
            if max(i, j) < d:
                partner[i], partner[j] = j, i
        rounds.append(partner)
        order = [order[0], order[-1], *order[1:-1]]
    return np.stack(rounds) if rounds else np.zeros((0, d), np.int32)


def _rotation(inner: Array, precisions: Array, partner: Array) -> tuple[Array, Array]:
    """The best turn of each axis towards its partner [D, D], and what is gained.

    Σ_k tr(P_k Rᵀ T_k R) is, by the angle θ of a pair, a constant and α cos 2θ + β sin 2θ.
    """
    d = len(partner)
    index = np.arange(d, dtype=np.int32)
    contrast = precisions - precisions[:, partner]
    squares = jnp.diagonal(inner, 0, -2, -1)
    cosine = jnp.sum(contrast * (squares - squares[:, partner]), axis=0) / 2
    sine = jnp.sum(contrast * inner[:, index, partner], axis=0)
    length = jnp.hypot(cosine, sine)
    gain = length + cosine
    # Not worth a turn, in the precision that there is.
    worth = gain > 4 * float(np.finfo(inner.dtype).eps) * jnp.abs(cosine)
    angle = jnp.arctan2(-sine, jnp.where(worth, -cosine, 1)) / 2
    angle = jnp.where(worth & (partner != index), angle, 0)
    first = index < partner
    # Of a pair both see the same: the second axis turns as far the other way.
    turn = jnp.where(first, angle, -angle[partner])
    turn = jnp.where(partner == index, 0, turn)
    rotation = jnp.zeros((d, d), inner.dtype).at[index, index].set(jnp.cos(turn))
    rotation = rotation.at[partner, index].add(jnp.sin(turn))
    return rotation, jnp.sum(jnp.where(first & worth, gain, 0))
