"""What families have in common whose components share volumes, shapes or axes but not all of them.

Banfield and Raftery (1993) write Σ_k = λ_k D_k A_k D_kᵀ: a volume λ_k, a shape A_k whose product is
1, and axes D_k. Each is free (V) or the same for all components (E), or the axes are those of the
features (I), and the three letters are the name of the family. Covariances are stored as those of
`diag` or `full`, one for each component, so that the pass over the data is theirs. What they have
in common lives in the M-step, which starts from where it was before.
"""

from __future__ import annotations

import abc
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm.data.arrays import module_of
from jgmm.data.products import along, dot
from jgmm.families import axes as _axes
from jgmm.families.family import Family
from jgmm.families.floor import Floor, Ridge
from jgmm.families.scatters import Scatters
from jgmm.families.spectra import SOLVERS, Solve, alike


class Restrained(Family):
    """A family named by mclust's three letters, beside `Diag` or `Full` as the way to store it."""

    restrained = True
    conjugate = False

    @property
    def in_common(self) -> list[str]:
        """What is the same for all components, in words."""
        parts = zip(("volume", "shape", "orientation"), self.name, strict=True)
        return [part for part, letter in parts if letter == "E"]

    @property
    def kinds(self) -> str:
        """The letters of volumes and shapes."""
        return self.name[:2]

    @property
    def solve_spectrum(self) -> Solve:
        """The likeliest variances along given axes."""
        return SOLVERS[self.kinds]

    def n_parameters(self, k: int, d: int) -> int:
        """Of volumes, shapes and axes."""
        return sum(_sizes(self.name, k, d))

    @abc.abstractmethod
    def spectrum(self, covariances: Any, weights: Any) -> tuple[Any, Any]:
        """Variances [K, D] along axes [K or 1, D, D]; None for those of the features.

        Axes that all share are found from all, which count by ``weights`` [K]. NumPy arrays stay
        so.
        """

    @abc.abstractmethod
    def solve(self, totals: Array, mass: Array, used: Array, least: Array, current: Array) -> Array:
        """The covariances that minimise Σ m_k log|Σ_k| + tr(Σ_k⁻¹ T_k), or lower it from there.

        Args:
            totals: T, of each component.
            mass: m [K].
            used: components that count for what is shared [K].
            least: the least variance along any direction; 0 or 1.
            current: covariances of the family to start from.
        """

    def member(self, covariances: Any, weights: Any) -> Any:
        """Covariances of the family near these, without iteration; its own stay as they are."""
        shares = _axes.shares(weights)
        variances, axes = self.spectrum(covariances, shares)
        return _axes.assemble(alike(variances, shares, self.kinds), axes)

    def shared_out(self, matrices: Any, weights: Any, floor: Any = 0) -> Any:
        """Those of the family that are near, larger where they have to be."""
        near = self.member(self.of_matrices(matrices), weights)
        xp = module_of(near)
        # By how much the floor is above each: in units of its root the largest eigenvalue.
        unit = xp.sqrt(xp.broadcast_to(xp.asarray(floor, near.dtype), near.shape[-1:]))
        if self.independent:
            short = (unit**2 / near).max(axis=1)
        else:
            above = xp.linalg.inv(near) * (unit[:, None] * unit[None, :])
            short = xp.linalg.eigvalsh((above + above.swapaxes(1, 2)) / 2)[:, -1]
        short = xp.maximum(short, 1)
        short = short if self.name[0] == "V" else short.max(keepdims=True)
        return near * along(short, near)

    def estimate(
        self, scatters: Scatters, floor: Floor | Ridge, current: Array | None = None
    ) -> Array:
        """The likeliest covariances above a floor; with a prior, of the highest density.

        Where what is shared is found by iteration, that goes on from ``current``, and the value
        of what it leads to is no lower.
        """
        if not isinstance(floor, Floor):
            raise ValueError(f"covariance_type: expected a floor under {self.name}, got a ridge")
        used = scatters.used
        totals, mass = scatters.sums(self.spreads(scatters.spreads))
        if scatters.wishart is not None:  # on each covariance, as if it were free
            scale, exponent = scatters.wishart
            totals, mass = totals + self.wishart_scale(scale), mass + exponent
        if current is None:
            current = self.member(totals / along(mass, totals), jnp.where(used, mass, 0))
        return self._above(totals, mass, used, floor.variances, current)

    def maximise(self, scatters: Scatters) -> Array:
        """The covariances of highest likelihood, or posterior density."""
        spreads = scatters.spreads
        floor = Floor(variances=jnp.zeros(spreads.shape[-1], spreads.dtype))
        return self.estimate(scatters, floor)

    def clip(self, covariances: Array, floor: Array) -> Array:
        """Covariances no smaller than a floor: as an M-step makes them of those that are."""
        ones = jnp.ones(len(covariances), covariances.dtype)

        def raised(covariances: Array) -> Array:
            near = self.member(self.wide.clip(covariances, floor), ones)
            return self._above(covariances, ones, ones > 0, floor, near)

        unit, least = self._units(floor)
        inside = self.rescale(covariances, 1 / unit)
        values = inside if self.independent else jnp.linalg.eigvalsh(inside)
        fine = jnp.all(values >= least * (1 - 8 * float(np.finfo(values.dtype).eps)))
        return lax.cond(fine | (least == 0), lambda covariances: covariances, raised, covariances)

    def _units(self, floor: Array) -> tuple[Array, Array]:
        """Units [D] in which the floor is 1, or what there is none in is 0."""
        if self.isotropic:
            floor = jnp.broadcast_to(jnp.mean(floor), floor.shape)
        active = jnp.all(floor > 0)
        return jnp.sqrt(jnp.where(active, floor, 1)), active.astype(floor.dtype)

    def _above(
        self, totals: Array, mass: Array, used: Array, floor: Array, current: Array
    ) -> Array:
        unit, least = self._units(floor)
        inner = self.rescale(totals, 1 / unit)
        start = lax.stop_gradient(self.rescale(current, 1 / unit))
        return self.rescale(_likeliest(self, inner, mass, used, least, start), unit)

    # Free parameters: log volumes, log shapes, and turns of the axes.

    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """All in one row, because some are of one component and others of all."""
        return 1, self.n_parameters(k, d)

    def free(self, used: Array, d: int) -> Array:
        """Which of the free parameters are of components ``used`` [K], or of all."""
        k = len(used)
        parts = [
            jnp.repeat(used, n // k) if letter == "V" else jnp.ones(n, bool)
            for letter, n in zip(self.name, _sizes(self.name, k, d), strict=True)
        ]
        return jnp.concatenate(parts)[None]

    def near(self, covariances: Array, growth: Array, weights: Array, d: int) -> Array:
        """Covariances of components with ``weights`` [K], grown along the free parameters."""
        k = len(covariances)
        n_volumes, n_shapes, _ = _sizes(self.name, k, d)
        volumes, shapes, turns = jnp.split(growth.ravel(), (n_volumes, n_volumes + n_shapes))
        variances, axes = self.spectrum(covariances, weights)
        mass = jnp.where(weights > 0, weights, 1)
        total = jnp.sum(weights)[None]
        own, all_ = lax.rsqrt(mass / 2), lax.rsqrt(total / 2)
        logs = (volumes * (own if self.name[0] == "V" else all_) / d**0.5)[:, None]
        units = own if self.name[1] == "V" else all_
        directions = jnp.asarray(_volume_free(d), logs.dtype)
        logs = logs + units[:, None] * dot(shapes.reshape(len(units), d - 1), directions)
        if axes is not None:
            axes = _axes.turned(axes, turns.reshape(len(axes), -1), variances, weights)
        return _axes.assemble(variances * jnp.exp(logs), axes)


def _sizes(name: str, k: int, d: int) -> tuple[int, int, int]:
    """How many free parameters volumes, shapes and axes have."""
    count = {"I": 0, "E": 1, "V": k}
    return count[name[0]], count[name[1]] * (d - 1), count[name[2]] * (d * (d - 1) // 2)


def _volume_free(d: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Orthonormal directions [D - 1, D] of logarithms that sum to 0 (Helmert's)."""
    rows = np.arange(1, d)[:, None]
    columns = np.arange(d)[None, :]
    matrix = np.where(columns < rows, 1.0, np.where(columns == rows, -rows, 0.0))
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float64]] = matrix / np.sqrt(rows * (rows + 1))
    return scaled


# The derivative of what minimises, by the implicit function theorem: it does not go through
# iterations, nor through eigenvectors, whose own is infinite where eigenvalues are equal.


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _likeliest(
    family: Restrained, totals: Array, mass: Array, used: Array, least: Array, current: Array
) -> Array:
    return family.solve(totals, mass, used, least, current)


@_likeliest.defjvp
def _likeliest_jvp(family: Restrained, primals: Any, tangents: Any) -> tuple[Array, Array]:
    totals, mass, used, least, current = primals
    best = _likeliest(family, *primals)
    weights = lax.stop_gradient(jnp.where(used, mass, 0))
    k, d = best.shape[:2]
    here = jnp.zeros(family.n_parameters(k, d), best.dtype)

    def slope(growth: Array, totals: Array, mass: Array) -> Array:
        def cost(growth: Array) -> Array:
            sigma = family.near(best, growth, weights, d)
            inverse, half_log_dets = family.inverse_root(sigma, d)
            identity = family.spreads(jnp.eye(d, dtype=sigma.dtype)[None])
            white = family.congruence(inverse, totals) * identity
            inner = jnp.sum(white.reshape(k, -1), axis=1)
            return jnp.sum(jnp.where(used, mass * half_log_dets + inner / 2, 0))

        return jax.grad(cost)(growth)

    curvature = jax.jacfwd(slope)(here, totals, mass)
    bare = jnp.diagonal(curvature) == 0  # of components that do not count
    curvature = curvature + jnp.diag(bare.astype(best.dtype))
    _, push = jax.jvp(functools.partial(slope, here), (totals, mass), (tangents[0], tangents[1]))
    growth = -jnp.linalg.solve(curvature, push)
    _, change = jax.jvp(lambda growth: family.near(best, growth, weights, d), (here,), (growth,))
    # At the floor it is another one.
    variances, _ = family.spectrum(best, weights)
    low = jnp.min(jnp.where(used[:, None], variances, jnp.inf)) < least * 1.0001
    return best, jnp.where(low, jnp.nan, change)
