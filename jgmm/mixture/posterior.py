"""Which component does a sample come from? Joint densities of a block, and what they add up to."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import amend, struct
from jgmm.data.fold import fold_sum
from jgmm.data.products import dot
from jgmm.data.samples import Block, Samples
from jgmm.families.kernels import Whitened
from jgmm.mixture.mixture import Mixture, log_weights


@struct
class Posterior:
    """Of S samples."""

    numerators: Array  # p [K, S]; the responsibilities are p over its sum
    totals: Array  # [S]; 0 where a sample is too far from all components to be told from infinity
    log_density: Array  # [S]

    def responsibilities(self) -> Array:
        """[K, S], which sum to one, or to zero where the density underflows."""
        return self.numerators / jnp.where(self.totals > 0, self.totals, 1)


def log_joint(
    mixture: Mixture,
    whitened: Whitened,
    labels: Array | None = None,
    logits: Array | None = None,
) -> Array:
    """Logarithms of weight times density [K, S].

    Where the label of a sample is known, [S] with -1 for unknown, -inf but for its component.
    Where there are ``logits`` [K] they stand for the logarithms of the weights.
    """
    distribution, d = mixture.distribution, whitened.n_observed
    dof = mixture.degrees_of_freedom
    logs = log_weights(mixture.weights) if logits is None else logits
    scales = logs[:, None] - whitened.half_log_det
    scales = scales + distribution.log_constant(d, dof)
    joint = scales + distribution.log_shape(whitened.energy, d, dof)
    if labels is None:
        return joint
    index = jnp.arange(len(joint), dtype=labels.dtype)[:, None]
    return jnp.where((labels < 0) | (labels == index), joint, -jnp.inf)


def normalise(joint: Array) -> Posterior:
    """The posterior, from log-joints [K, S]."""
    top = lax.stop_gradient(jnp.max(joint, axis=0))
    top = jnp.where(jnp.isfinite(top), top, 0)
    # Compiled without optimisation, joints are rounded in one place as a sum of products and in
    # another not, so that the largest may not be the top. It has to be where that is much.
    slack = 4 * float(np.finfo(joint.dtype).eps) * jnp.abs(top)
    gaps = joint - (top - jnp.where(slack > 0.5, slack, 0))
    p = jnp.exp(gaps - lax.stop_gradient(jnp.maximum(gaps, 0)))
    # A product with ones is the fastest sum over components that XLA makes on a CPU.
    total = dot(jnp.ones((1, len(p)), p.dtype), p)[0]
    return Posterior(numerators=p, totals=total, log_density=top + jnp.log(total))


def counted(log_density: Array, weights: Array) -> Array:
    """The sum of log densities times sample weights [S].

    A sample of weight 0 counts for nothing, not even where its density underflows; but the
    derivative by its weight is its log density.
    """
    counts = (weights > 0) | jnp.isfinite(log_density)
    weighted = weights * jnp.where(counts, log_density, 0)
    return dot(weighted, jnp.ones_like(weighted))


def centered(mixture: Mixture, pixels: Array) -> tuple[Mixture, Array]:
    """Mixture and pixels, both shifted so that the mixture's mean is near the origin.

    Subtracting first is exact or nearly so; multiplying a large offset by L⁻¹ first is not.
    """
    center = lax.stop_gradient(mixture.weights @ mixture.means)
    return amend(mixture, means=mixture.means - center), pixels - center


def judgement(mixture: Mixture, samples: Samples) -> tuple[Array, Array, Array]:
    """Sums over samples near the origin: log-likelihood, weight, entropy of responsibilities."""
    kernel = mixture.kernel(gaps=samples.observed is not None)

    def block(block: Block) -> tuple[Array, Array, Array]:
        joint = log_joint(mixture, kernel.evaluate(block), block.labels)
        posterior = normalise(joint)
        r = posterior.responsibilities()
        # -Σ r log r, from log r = joint - log_density; a component with r = 0 adds nothing.
        log_r = jnp.where(r > 0, joint - posterior.log_density, 0)
        entropy = -jnp.sum(r * log_r, axis=0)
        w = block.weights
        return (
            counted(posterior.log_density, w),
            jnp.sum(w),
            jnp.sum(jnp.where(w > 0, w * entropy, 0)),
        )

    return fold_sum(block, samples).rounded()
