"""Student's t: components with heavy tails, which samples far out do not drag along.

A sample x of a t is normal with covariance Σ/u, u a gamma variable of mean 1 and ν degrees of
freedom. EM takes u for missing (Liu and Rubin 1995; of mixtures Peel and McLachlan 2000): samples
far out are expected to have a small u, and count by that in the moments. What a fold sums up
beside those, the expected u - 1 - log u, says all that the M-step of ν needs to know.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm.families.distribution import Distribution
from jgmm.families.gamma import (
    inverse_of_log_less_digamma,
    log_gamma_rise,
    log_less_digamma,
    slope_of_log_less_digamma,
)

FREE, SHARED, FIXED = "free", "shared", "fixed"
LEAST, MOST = 1.0, 1000.0  # degrees of freedom that are estimated: below there is no mean,
# above a t differs from a Gaussian by less than 1e-6 D² nats per sample
_GAPS = 9e-4, 1.4  # log x - ψ(x) of half of a little more


@dataclasses.dataclass(frozen=True)
class StudentT(Distribution):
    """The multivariate t; covariances are its scale matrices Σ, and not its covariance.

    Attributes:
        degrees: how degrees of freedom come about: "free", estimated for each component; "shared",
            estimated, the same for all; "fixed", given.
    """

    degrees: str = FREE

    name = "student_t"
    title = "Student-t"
    reweights = True
    shaped = True

    @property
    def estimated(self) -> bool:  # type: ignore[override]
        """Unless given."""
        return self.degrees != FIXED

    def log_constant(self, d: Any, dof: Array) -> Array:
        """As log Γ((ν + D)/2) - log Γ(ν/2) - D/2 log πν, [K, 1] or [K, S]."""
        half = jnp.asarray(d, dof.dtype) / 2
        return log_gamma_rise(dof[:, None] / 2, half) - half * math.log(2 * math.pi)

    def log_shape(self, energy: Array, d: int | Array, dof: Array) -> Array:
        """-(ν + D)/2 log(1 + |y|²/ν)."""
        nu = dof[:, None]
        return -(nu + d) / 2 * jnp.log1p(-2 * energy / nu)

    def moment_weights(self, r: Array, energy: Array, d: int | Array, dof: Array) -> Array:
        """By the expected u = (ν + D)/(ν + |y|²)."""
        nu = dof[:, None]
        return r * ((nu + d) / (nu - 2 * energy))

    def tails(self, energy: Array, d: int | Array, dof: Array) -> Array | None:
        """The expected u - 1 - log u, never below 0."""
        if not self.estimated:
            return None
        nu = dof[:, None]
        squares = -2 * energy
        log_u = jnp.log1p(d / nu) - jnp.log1p(squares / nu)
        return (d - squares) / (nu + squares) - log_u + log_less_digamma((nu + d) / 2)

    def n_parameters(self, k: int) -> int:
        """One for each component, for all, or none."""
        return {FREE: k, SHARED: min(k, 1), FIXED: 0}[self.degrees]

    def estimate(self, dof: Array, tails: Array | None, counts: Array, used: Array) -> Array:
        """The ν with log ν/2 - ψ(ν/2) = Σ r (u - 1 - log u) / Σ r, within bounds."""
        if tails is None:
            return dof
        if self.degrees == SHARED:
            tails, counts = (
                jnp.broadcast_to(jnp.sum(jnp.where(used, leaf, 0)), leaf.shape)
                for leaf in (tails, counts)
            )
            used = jnp.broadcast_to(jnp.any(used), used.shape)
        gap = jnp.where(used, tails, 1) / jnp.where(used, counts, 1)
        best = 2 * inverse_of_log_less_digamma(jnp.clip(gap, *_GAPS))
        return jnp.where(used, jnp.clip(best, LEAST, MOST), dof)

    def pooled(self, dof: Array, weights: Array) -> Array:
        """Within bounds, the geometric mean under the weights if all share one."""
        dof = jnp.clip(dof, LEAST, MOST)
        if self.degrees != SHARED:
            return dof
        return jnp.broadcast_to(jnp.exp(jnp.sum(weights * jnp.log(dof))), dof.shape)

    def slope(self, dof: Array, tails: Array | None, counts: Array) -> Array | None:
        """Half of Σ r (log ν/2 - ψ(ν/2)), less that of the samples."""
        return None if tails is None else (counts * log_less_digamma(dof / 2) - tails) / 2

    def unconstrained(self, dof: Array) -> Array | None:
        """Logarithms."""
        return jnp.log(dof) if self.estimated else None

    def constrained(self, chart: Array | None, dof: Array) -> Array:
        """Exponentials, within bounds."""
        return dof if chart is None else jnp.clip(jnp.exp(chart), LEAST, MOST)

    def information(self, dof: Array) -> Array | None:
        """Of log ν from a gamma variable: between 1/2 and 1."""
        return -((dof / 2) ** 2) * slope_of_log_less_digamma(dof / 2) if self.estimated else None

    def free(self, used: Array) -> Array | None:
        """Those of components that are used, or that of all."""
        return {FREE: used, SHARED: jnp.any(used)[None], FIXED: None}[self.degrees]

    def near(self, dof: Array, growth: Array | None, weights: Array) -> Array:
        """Times the exponential of the growth."""
        told = self.information(dof)
        if told is None or growth is None:
            return dof
        weights = jnp.where(weights > 0, weights, 1)
        if self.degrees == SHARED:
            told, weights = told[:1], jnp.ones_like(weights[:1])
        return jnp.clip(dof * jnp.exp(growth * jax.lax.rsqrt(told * weights)), LEAST, MOST)

    def log_spread(self, dof: Any) -> Any:
        """That of ν/(ν - 2); infinite if ν is 2 or less. NumPy arrays stay so."""
        xp: Any = np if isinstance(dof, np.ndarray) else jnp
        finite = dof > 2
        safe = xp.where(finite, dof, 4)
        return xp.where(finite, xp.log(safe / (safe - 2)), xp.inf)

    def entropy(self, d: int, dof: Array) -> Array:
        """Minus the constant, and (ν + D)/2 (ψ((ν + D)/2) - ψ(ν/2)) (Guerrero-Cusumano 1996)."""
        x, h = dof / 2, d / 2
        gap = jnp.log1p(h / x) - log_less_digamma(x + h) + log_less_digamma(x)  # of digammas
        return (x + h) * gap - self.log_constant(d, dof)[:, 0]

    def conditional(self, dof: Array, f: int, log_density: Array, squares: Array) -> Any:
        """Again a t, of ν + F, wider the farther off what is known is (Ding 2016)."""
        constant = (
            self.log_constant(f, dof)[:, 0] + self.log_shape(-squares[:, None] / 2, f, dof)[:, 0]
        )
        widths = (dof + squares) / (dof + f)
        return log_density + squares / 2 + constant, widths, dof + f

    def scales(self, key: Array, labels: Array, dof: Array) -> Array | None:
        """One over the root of u."""
        half, key = dof[labels] / 2, jax.random.fold_in(key, 1)
        return jax.lax.rsqrt(jax.random.gamma(key, half, dtype=dof.dtype) / half)
