"""Priors of the weights: a Dirichlet, or a Dirichlet process as sticks that are broken.

A new one is a class here and a line in `WEIGHT_PRIORS`.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jgmm.data.arrays import module_of
from jgmm.families.gamma import entropic, log_gamma, log_less_digamma


@dataclasses.dataclass(frozen=True)
class WeightPrior(abc.ABC):
    """A conjugate prior of the weights of K components; static.

    Posteriors are arrays of concentrations [..., K]. Only components ``used`` [K] take part.
    """

    name: ClassVar[str]
    """As callers write it."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make objects of the class static pytree nodes."""
        super().__init_subclass__(**options)
        jax.tree_util.register_static(cls)

    @abc.abstractmethod
    def posterior(self, prior: Array, counts: Array) -> Array:
        """The concentrations [..., K], from that of the prior [] and counts of samples [K]."""

    @abc.abstractmethod
    def counts(self, concentrations: Array, prior: Array) -> Array:
        """The counts of samples [K] again."""

    @abc.abstractmethod
    def log_means(self, concentrations: Array, used: Array) -> Array:
        """E log π [K], -inf of components that are not used."""

    @abc.abstractmethod
    def means(self, concentrations: Array, used: Array) -> Array:
        """E π [..., K], made to sum to 1; NumPy arrays stay so."""

    @abc.abstractmethod
    def divergence(self, concentrations: Array, prior: Array, used: Array) -> Array:
        """The Kullback-Leibler divergence from the prior [], in nats."""


class Dirichlet(WeightPrior):
    """A Dirichlet of K equal concentrations; posteriors are [K] (Bishop 2006, section 10.2)."""

    name = "dirichlet_distribution"

    def posterior(self, prior: Array, counts: Array) -> Array:
        """Counts on top."""
        return prior + counts

    def counts(self, concentrations: Array, prior: Array) -> Array:
        """What is on top."""
        return concentrations - prior

    def log_means(self, concentrations: Array, used: Array) -> Array:
        """Differences of digammas."""
        known = jnp.where(used, concentrations, 1)
        total = jnp.sum(jnp.where(used, concentrations, 0))
        logs = jnp.log(known / total) - log_less_digamma(known) + log_less_digamma(total)
        return jnp.where(used, logs, -jnp.inf)

    def means(self, concentrations: Array, used: Array) -> Array:
        """Shares."""
        shares: Array = module_of(concentrations).where(used, concentrations, 0)
        return shares / shares.sum(-1, keepdims=True)

    def divergence(self, concentrations: Array, prior: Array, used: Array) -> Array:
        """Of two Dirichlets."""
        n = jnp.sum(used).astype(prior.dtype)
        known = jnp.where(used, concentrations, 1)
        total = jnp.sum(jnp.where(used, concentrations, 0))
        logs = jnp.where(used, self.log_means(concentrations, used), 0)
        own = jnp.sum(jnp.where(used, entropic(known), 0)) - entropic(total)
        return own - prior * jnp.sum(logs) - log_gamma(n * prior) + n * log_gamma(prior)


class StickBreaking(WeightPrior):
    """A Dirichlet process, of whose sticks K are told apart (Blei and Jordan 2006).

    Component k takes the share v of what those before it left, and v ~ Beta(1, concentration).
    Posteriors are Betas of a and b, [2, K]. Those behind the first K are as the prior has them.
    """

    name = "dirichlet_process"

    def posterior(self, prior: Array, counts: Array) -> Array:
        """Counts of the component, and of all behind it."""
        behind = jnp.cumsum(counts[:0:-1])[::-1]
        behind = jnp.concatenate([behind, jnp.zeros_like(counts[:1])])
        return jnp.stack([1 + counts, prior + behind])

    def counts(self, concentrations: Array, prior: Array) -> Array:
        """What is on top of 1."""
        return concentrations[0] - 1

    def log_means(self, concentrations: Array, used: Array) -> Array:
        """Logarithms of the own share, and of what those before it left."""
        taken, left = self._logs(concentrations)
        before = jnp.concatenate([jnp.zeros_like(left[:1]), jnp.cumsum(left[:-1])])
        return jnp.where(used, taken + before, -jnp.inf)

    def means(self, concentrations: Array, used: Array) -> Array:
        """Mean shares of mean rests."""
        xp = module_of(concentrations)
        a, b = concentrations[..., 0, :], concentrations[..., 1, :]
        left = b / (a + b)
        rests = xp.ones_like(left[..., :1]), xp.cumprod(left[..., :-1], axis=-1)
        before = xp.concatenate(rests, axis=-1)
        shares: Array = xp.where(used, a / (a + b) * before, 0)
        return shares / shares.sum(-1, keepdims=True)

    def divergence(self, concentrations: Array, prior: Array, used: Array) -> Array:
        """Of Betas."""
        a, b = concentrations
        taken, left = self._logs(concentrations)
        own = entropic(a) + entropic(b) - entropic(a + b)
        return jnp.sum(jnp.where(used, own - taken - prior * left - jnp.log(prior), 0))

    def _logs(self, concentrations: Array) -> tuple[Array, Array]:
        """E log v and E log(1 - v)."""
        a, b = concentrations
        both = log_less_digamma(a + b)
        taken = jnp.log(a / (a + b)) - log_less_digamma(a) + both
        return taken, jnp.log(b / (a + b)) - log_less_digamma(b) + both


WEIGHT_PRIORS: dict[str, WeightPrior] = {
    prior.name: prior for prior in (StickBreaking(), Dirichlet())
}
