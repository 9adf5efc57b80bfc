"""The E-step: what the data say under a mixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        tails: what samples say of degrees of freedom that are estimated [K]; None for nothing.
    """

    counts: Array
    shifts: Array
    scatters: Array
    masses: Array = None  # type: ignore[assignment]
    tails: Array | None = None

    def __post_init__(self) -> None:
        """In the moments of Gaussians samples count by their responsibilities."""
        if self.masses is None:
            object.__setattr__(self, "masses", self.counts)


@struct
class Elsewhere:
    """In the place of samples that a problem has not, such as those of a stream."""

    shares: Array | None  # [D], of the weight for which features were observed; None: all were


@struct
class Told:
    """What a pass over samples that are elsewhere said of the one mixture it was made under."""

    stats: SufficientStats
    log_likelihood: Compensated[Array]  # [], per unit of sample weight


def observed_shares(samples: Samples | Elsewhere) -> Array | None:
    """The share [D] of the weight for which each feature was observed; None where all were."""
    if isinstance(samples, Elsewhere):
        return samples.shares
    return None if samples.observed is None else shares_observed(samples)


def expectation(
    mixture: Mixture, samples: Samples | Told, logits: Array | None = None
) -> tuple[SufficientStats, Compensated[Array]]:
    """The E-step over samples near the origin.

    Features that were not observed are integrated out; a sample whose label is known belongs to
    that component. The likelihood is that of what is known.

    Args:
        mixture: where the responsibilities are taken.
        samples: with or without gaps and labels; or what a pass over them said already.
        logits: what stands in the place of the logarithms of the weights [K].

    Returns:
        The statistics, and the log-likelihood per unit of sample weight.
    """
    if isinstance(samples, Told):
        return samples.stats, samples.log_likelihood
    kernel = mixture.kernel(gaps=samples.observed is not None)
    told = concluded(mixture, kernel, totalled(mixture, kernel, samples, logits=logits))
    return told.stats, told.log_likelihood


def totalled(
    mixture: Mixture,
    kernel: Kernel,
    samples: Samples,
    total: Compensated[Any] | None = None,
    logits: Array | None = None,
) -> Compensated[Any]:
    """The sums that an E-step takes over blocks, on top of those of samples before these."""

    def visit(block: Block) -> tuple[Sums, tuple[Array, ...]]:
        def respond(whitened: Whitened) -> tuple[Array, tuple[Array, ...]]:
            posterior = normalise(log_joint(mixture, whitened, block.labels, logits))
            log_likelihood = counted(posterior.log_density, block.weights)
            safe = jnp.where(posterior.totals > 0, posterior.totals, 1)
            r = posterior.numerators * (block.weights / safe)
            return r, (log_likelihood, *_apart(mixture, r, whitened))

        return kernel.accumulate(block, respond, _reweigh(mixture))

    return fold_sum(visit, samples, total)


def _reweigh(mixture: Mixture) -> Callable[[Array, Whitened], Array]:
    """How much samples count in the moments, from responsibilities [K, S]."""
    distribution, dof = mixture.distribution, mixture.degrees_of_freedom

    def reweigh(r: Array, whitened: Whitened) -> Array:
        return distribution.moment_weights(r, whitened.energy, whitened.n_observed, dof)

    return reweigh


def _apart(mixture: Mixture, r: Array, whitened: Whitened) -> tuple[Array, ...]:
    """What is to sum up beside the moments, of responsibilities [K, S]: counts, and tails."""
    distribution, dof = mixture.distribution, mixture.degrees_of_freedom
    if not distribution.reweights:
        return ()
    tails = distribution.tails(whitened.energy, whitened.n_observed, dof)
    parts = [r] if tails is None else [r, r * tails]
    return tuple(dot(part, jnp.ones_like(part[0])) for part in parts)


def _joined(kernel: Kernel, sums: Sums, apart: Sequence[Array]) -> SufficientStats:
    """The statistics, from sums over all blocks."""
    masses, shifts, scatters = kernel.moments(sums)
    counts, tails = (*apart, None, None)[:2]
    return SufficientStats(
        counts=masses if counts is None else counts,
        shifts=shifts,
        scatters=scatters,
        masses=masses,
        tails=tails,
    )


def concluded(mixture: Mixture, kernel: Kernel, total: Compensated[Any]) -> Told:
    """What the sums over all samples say."""
    sums, (_, *apart) = total.rounded()
    stats = _joined(kernel, sums, apart)
    log_likelihood = Compensated(value=total.value[1][0], error=total.error[1][0])
    return Told(stats=stats, log_likelihood=mean(log_likelihood, jnp.sum(stats.counts)))


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

    def visit(block: Block) -> tuple[Sums, tuple[Array, ...]]:
        def respond(whitened: Whitened) -> tuple[Array, tuple[Array, ...]]:
            r = responsibilities(block, whitened)
            return r, _apart(mixture, r, whitened)

        return kernel.accumulate(block, respond, _reweigh(mixture))

    sums, apart = fold_sum(visit, samples).rounded()
    return _joined(kernel, sums, apart)


def hard(mixture: Mixture) -> Callable[[Block, Whitened], Array]:
    """For `statistics`: each sample belongs to its most probable component alone."""

    def respond(block: Block, whitened: Whitened) -> Array:
        joint = log_joint(mixture, whitened)
        best = jnp.argmax(joint, axis=0)
        return jax.nn.one_hot(best, len(joint), axis=0, dtype=joint.dtype) * block.weights

    return respond
