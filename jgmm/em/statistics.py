"""The E-step: what the data say under a mixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jgmm._struct import struct
from jgmm.data.compensated import Compensated, mean
from jgmm.data.fold import fold_sum, shares_observed
from jgmm.data.products import dot
from jgmm.data.samples import Block, Samples
from jgmm.families.kernels import Kernel, Sums, Whitened
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.posterior import counted, log_joint, normalise


@struct
class SufficientStats:
    """What an M-step needs to know of the data, in the whitened frame of the mixture.

    With responsibilities r and y = L⁻¹(x - μ) for each component: Σr, Σr·y and Σr·y·yᵀ. They add
    up over chunks of the data.

    Attributes:
        counts: Σr [K], in all the sum of the sample weights.
        shifts: Σr·y [K, D].
        scatters: Σr·y·yᵀ [K, D, D]; its diagonal [K, D] under diag and spherical mixtures.
        masses: what samples count for in the latter two [K]; of Gaussians that is ``counts``.
    """

    counts: Array
    shifts: Array
    scatters: Array
    masses: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """In the moments of Gaussians samples count by their responsibilities."""
        if self.masses is None:
            object.__setattr__(self, "masses", self.counts)


@struct
class Told:
    """What a pass over samples that are elsewhere said of the one mixture it was made under."""

    stats: SufficientStats
    log_likelihood: Compensated[Array]  # [], per unit of sample weight
    shares: Array | None = None  # [D], of the weight for which features were observed; None: all


def observed_shares(samples: Samples | Told) -> Array | None:
    """The share [D] of the weight for which each feature was observed; None where all were."""
    if isinstance(samples, Told):
        return samples.shares
    return None if samples.observed is None else shares_observed(samples)


def expectation(
    mixture: Mixture, samples: Samples | Told
) -> tuple[SufficientStats, Compensated[Array]]:
    """The E-step over samples near the origin.

    Features that were not observed are integrated out; a sample whose label is known belongs to
    that component. The likelihood is that of what is known.

    Args:
        mixture: where the responsibilities are taken.
        samples: with or without gaps and labels; or what a pass over them said already.

    Returns:
        The statistics, and the log-likelihood per unit of sample weight.
    """
    if isinstance(samples, Told):
        return samples.stats, samples.log_likelihood
    kernel = mixture.kernel(gaps=samples.observed is not None)
    told = concluded(mixture, kernel, totalled(mixture, kernel, samples))
    return told.stats, told.log_likelihood


def totalled(
    mixture: Mixture, kernel: Kernel, samples: Samples, total: Compensated[Any] | None = None
) -> Compensated[Any]:
    """The sums that an E-step takes over blocks, on top of those of samples before these."""
    distribution = mixture.distribution

    def visit(block: Block) -> tuple[Sums, tuple[Array, ...]]:
        def respond(whitened: Whitened) -> tuple[Array, tuple[Array, ...]]:
            posterior = normalise(log_joint(mixture, whitened, block.labels))
            log_likelihood = counted(posterior.log_density, block.weights)
            safe = jnp.where(posterior.totals > 0, posterior.totals, 1)
            r = posterior.numerators * (block.weights / safe)
            apart = (dot(r, jnp.ones_like(r[0])),) if distribution.reweights else ()
            return r, (log_likelihood, *apart)

        def reweigh(r: Array, whitened: Whitened) -> Array:
            return distribution.moment_weights(r, whitened.energy, whitened.n_observed)

        return kernel.accumulate(block, respond, reweigh)

    return fold_sum(visit, samples, total)


def concluded(mixture: Mixture, kernel: Kernel, total: Compensated[Any]) -> Told:
    """What the sums over all samples say."""
    sums, (_, *counted_apart) = total.rounded()
    masses, shifts, scatters = kernel.moments(sums)
    counts = counted_apart[0] if mixture.distribution.reweights else masses
    log_likelihood = Compensated(value=total.value[1][0], error=total.error[1][0])
    stats = SufficientStats(counts=counts, shifts=shifts, scatters=scatters, masses=masses)
    return Told(stats=stats, log_likelihood=mean(log_likelihood, jnp.sum(counts)))


def statistics(
    mixture: Mixture, samples: Samples, responsibilities: Callable[[Block, Whitened], Array]
) -> SufficientStats:
    """The statistics of complete samples under other responsibilities than the mixture's.

    Args:
        mixture: whose frame they are in.
        samples: near the origin.
        responsibilities: [K, S] of a block, sample weights included.
    """
    kernel = mixture.kernel()

    def visit(block: Block) -> Sums:
        return kernel.accumulate(block, lambda whitened: (responsibilities(block, whitened), ()))[0]

    counts, shifts, scatters = kernel.moments(fold_sum(visit, samples).rounded())
    return SufficientStats(counts=counts, shifts=shifts, scatters=scatters)


def hard(mixture: Mixture) -> Callable[[Block, Whitened], Array]:
    """For `statistics`: each sample belongs to its most probable component alone."""

    def respond(block: Block, whitened: Whitened) -> Array:
        joint = log_joint(mixture, whitened)
        best = jnp.argmax(joint, axis=0)
        return jax.nn.one_hot(best, len(joint), axis=0, dtype=joint.dtype) * block.weights

    return respond
