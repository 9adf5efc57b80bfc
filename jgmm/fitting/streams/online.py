"""`partial_fit`: a mixture of data that keep coming, and of which the oldest are forgotten."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import Shown, Table, amend, struct
from jgmm.data.programs import program
from jgmm.data.samples import Rows, block_size, make_samples
from jgmm.em.maximisation import maximisation
from jgmm.em.moments import Moments, blended, implied, moments_of, stats_under, variances
from jgmm.em.statistics import expectation
from jgmm.families.floor import Floor, Ridge
from jgmm.mixture.mixture import FitLike, Mixture, as_mixture, conform, gaussian
from jgmm.mixture.posterior import centered


@struct
class PartialFit(Shown):
    """A mixture of what came so far, for `partial_fit` to go on from.

    It stands for its mixture wherever one is expected.

    Attributes:
        mixture: in the units of the data.
        moments: what is remembered of the data: counts [K], means [K, D] and spreads.
        log_likelihood: of the last block [], in nats per weight, under the mixture before it: what
            of a stream tells how well the mixture foretells it.
        n_blocks: how many came [].

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture([0.5, 0.5], [[0.0], [9.0]], [[1.0], [1.0]])
        >>> jgmm.partial_fit(mixture, [[0.0], [2.0], [8.0], [10.0]])
        PartialFit of 1 block, which weighs 8
        Mixture of 2 diag components in 1 dimension
          component  weight  mean 0
                  0     0.5     0.5
                  1     0.5       9
    """

    mixture: Mixture
    moments: Moments
    log_likelihood: Array
    n_blocks: Array

    @property
    def weight(self) -> Array:
        """Of all data that are remembered []."""
        return jnp.sum(self.moments.counts)

    def _showable(self) -> bool:
        return super()._showable() and np.ndim(self.n_blocks) == 0

    def _tables(self) -> tuple[Table, ...]:
        n, weight = int(self.n_blocks), float(np.sum(self.moments.counts))
        blocks = f"{n} block{'s' if n != 1 else ''}, which weigh{'s' if n == 1 else ''}"
        title = f"PartialFit of {blocks} {weight:.6g}"
        return Table(title, (), ()), *self.mixture._tables()


def partial_fit(
    state: PartialFit | Mixture | FitLike,
    block: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    memory: ArrayLike = math.inf,
    reg_covar: ArrayLike = 1e-6,
) -> PartialFit:
    """A step of online EM for data that keep coming (Sato and Ishii 2000).

    The statistics of a block under the mixture so far are added to those of all blocks before,
    which count for exp(-w / memory) of what they did, w the weight of the block; then comes an
    M-step. A pure function, that works under `jax.jit`, `jax.vmap` and `jax.lax.scan`; blocks of
    one shape share a program, and weights of 0 fill up those that are shorter.

    Args:
        state: what the last call returned. At the beginning a `Mixture`, which stands for as many
            data as the first block has; or the result of a fit, which stands for all of its own.
        block: [n, D] or [..., D].
        weights: sample weights >= 0 of shape [...] or [n]; None means all 1.
        memory: the weight of data after which what was before counts for 1/e; inf forgets nothing.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data remembered; a number or [D], all positive or all 0.

    Returns:
        The next state.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: shapes that do not fit, values that are not finite, memory of 0 or less.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> state = jgmm.fit(pixels[:100], 1, search="none")
        >>> for block in pixels[100:].reshape(9, 100, 2):
        ...     state = jgmm.partial_fit(state, block)
        >>> print(state.weight, bool(abs(state.mixture.means - pixels.mean(axis=0)).max() < 1e-4))
        1000.0 True
    """
    given = state.mixture if isinstance(state, PartialFit) else as_mixture(state, "state")
    mixture, array = conform(gaussian(given, "partial_fit"), block)
    if mixture.family.sketched:
        raise ValueError(
            f"partial_fit: expected a family whose statistics of different mixtures add up, got "
            f"{mixture.family.name}"
        )
    dtype = array.dtype
    if _checks.is_concrete(memory) and not bool(np.all(np.asarray(memory) > 0)):
        raise ValueError(f"memory: expected a weight above 0, got {memory}")
    floor = _checks.all_or_none("reg_covar", _checks.as_nonnegative("reg_covar", reg_covar, dtype))
    if floor.shape not in ((), (mixture.n_features,)):
        raise ValueError(
            f"reg_covar: expected a number or shape ({mixture.n_features},), got {floor.shape}"
        )
    mass = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat = array.reshape(-1, mixture.n_features)
    weight = getattr(state, "weight", None)
    old = state.moments if isinstance(state, PartialFit) else None
    return _advanced(
        mixture,
        given.means,
        old,
        jnp.sum(_checks.as_array(mass)) if weight is None else _checks.as_array(weight, dtype),
        flat,
        mass,
        _checks.as_array(memory, dtype),
        floor,
        state.n_blocks if isinstance(state, PartialFit) else jnp.zeros((), jnp.int32),
    )


@program(once=True)
def _advanced(
    moved: Mixture,
    means: Array,
    old: Moments | None,
    weight: Array,
    flat: Array,
    mass: Array,
    memory: Array,
    reg_covar: Array,
    n_blocks: Array,
) -> PartialFit:
    mixture = amend(moved, means=means.astype(moved.means.dtype))
    if old is None:
        old = implied(mixture, weight)
    old = jax.tree.map(lambda leaf: leaf.astype(flat.dtype), old)
    following, moments, log_likelihood = advanced(
        mixture, moved, old, flat, mass, memory, reg_covar
    )
    return PartialFit(
        mixture=following,
        moments=moments,
        log_likelihood=log_likelihood,
        n_blocks=n_blocks + 1,
    )


def advanced(
    mixture: Mixture,
    moved: Mixture,
    old: Moments,
    flat: Array,
    mass: Array,
    memory: Array,
    reg_covar: Array,
    ridge: Ridge | None = None,
) -> tuple[Mixture, Moments, Array]:
    """The mixture, the moments and the log-likelihood after one more block.

    Args:
        mixture: so far.
        moved: the same around the origin of the block.
        old: moments of what came before.
        flat: samples [n, D].
        mass: their weights [n].
        memory: see `partial_fit`.
        reg_covar: likewise.
        ridge: in the place of that.
    """
    family = mixture.family
    near, samples = centered(moved, flat)
    rows = Rows(features=samples, weights=_checks.as_array(mass))
    size = block_size(mixture.n_components, mixture.n_features, samples.dtype)
    stats, log_likelihood = expectation(near, make_samples(rows, size))
    moments = blended(
        old, moments_of(mixture, stats), jnp.exp(-jnp.sum(rows.weights) / memory), family
    )
    floor: Any = ridge
    if floor is None:
        floor = Floor(variances=reg_covar * variances(moments, family))
    following = maximisation(mixture, stats_under(mixture, moments), family, floor)
    return following, moments, log_likelihood.rounded()
