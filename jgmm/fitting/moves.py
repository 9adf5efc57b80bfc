"""Split and merge: mixtures near one that EM has come to, from which it may climb higher.

Two components that hardly differ become one, and another becomes two (Ueda, Nakano, Ghahramani and
Hinton 2000). The same code works on the host, where nothing is compiled for it, and under traces.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._struct import amend
from jgmm.data.arrays import module_of
from jgmm.families.family import Family
from jgmm.mixture.components import take
from jgmm.mixture.mixture import Mixture

# Weights, means, matrices [K, D, D], and degrees of freedom if there are any.
Parts = tuple[Any, Any, Any, Any]

_OFFSET = 0.7  # of the halves of a component from its mean, in standard deviations
_NARROW = 0.25  # of the variance of a component, that of its core
_TINY = float(np.finfo(np.float32).tiny)
_EAGER = 0.25  # the chance that the pair of components that costs least is taken


def lots(n_rounds: int, batch: int) -> npt.NDArray[np.float32]:
    """Numbers from 0 to 1 that say which moves a round makes [rounds, batch, 3].

    They fill the cube evenly: multiples of irrational numbers (Weyl 1916), here powers of the root
    of x⁴ = x + 1.
    """
    numbers = 1 + np.arange(n_rounds * batch).reshape(n_rounds, batch)
    steps = 1.2207440846057596 ** -np.arange(1.0, 4.0)
    return (0.5 + numbers[..., None] * steps).astype(np.float64).__mod__(1).astype(np.float32)


def merges_of(mixture: Mixture) -> tuple[Any, Any]:
    """What merging each pair of components costs at most [K, K], and the spreads of the merged.

    The bound of Runnalls (2007) on the Kullback-Leibler divergence of the mixtures. Infinite but
    for pairs of different components that are used, each once.
    """
    xp, (k, d) = module_of(mixture.means), mixture.means.shape
    weights, means = mixture.weights, mixture.means
    spreads = mixture.family.dense(mixture.covariances, k, d)
    joint = weights[:, None] + weights
    share = weights[:, None] / xp.where(joint > 0, joint, 1)
    gaps = means[:, None] - means
    a, b = share[..., None, None], share.T[..., None, None]
    merged = a * spreads[:, None] + b * spreads + (a * b) * gaps[..., :, None] * gaps[..., None, :]
    used = weights > 0
    pairs = used[:, None] & used & (np.arange(k)[:, None] < np.arange(k))
    safe = xp.where(pairs[..., None, None], merged, np.eye(d, dtype=means.dtype))
    logs = xp.linalg.slogdet(spreads)[1]
    costs = joint * xp.linalg.slogdet(safe)[1] - weights[:, None] * logs[:, None] - weights * logs
    return xp.where(pairs & xp.isfinite(costs), costs, np.inf), merged


def move(mixture: Mixture, merges: tuple[Any, Any], floor: Any, lot: Any) -> Mixture:
    """A mixture with two of its components merged, and one split into two.

    Args:
        mixture: in the frame, one for which there is a pair of components; another stays as it is.
        merges: of this mixture; see `merges_of`.
        floor: least variances [D].
        lot: three numbers from 0 to 1: which are merged, which is split, and how.
    """
    parts, lot = _parts(mixture), _as_lot(mixture, lot)
    merged, free = _merged(parts, merges, lot[0])
    split = _split(merged, free, floor, lot[1:], mixture.family)
    return _mixture(mixture, split, merges, floor)


def grow(mixture: Mixture, free: Any, floor: Any, lot: Any) -> Mixture:
    """A mixture with one of its components split, the second half at the index ``free``.

    Args:
        mixture: in the frame; the component at that index is of weight 0.
        free: an index.
        floor: least variances [D].
        lot: two numbers from 0 to 1: which is split, and how.
    """
    split = _split(_parts(mixture), free, floor, _as_lot(mixture, lot), mixture.family)
    return _mixture(mixture, split, None, floor)


def shrink(mixture: Mixture, last: Any, floor: Any, lot: Any) -> Mixture:
    """A mixture with two of its components merged, and none at the index ``last``.

    Args:
        mixture: in the frame; the components behind that index are of weight 0.
        last: an index.
        floor: least variances [D].
        lot: a number from 0 to 1: which are merged.
    """
    merges = merges_of(mixture)
    parts, free = _merged(_parts(mixture), merges, _as_lot(mixture, lot))
    merged = _mixture(mixture, parts, merges, floor)
    index = np.arange(mixture.n_components, dtype=np.int32)
    xp = module_of(mixture.means)
    possible = xp.any(xp.isfinite(merges[0]))
    ordered = take(merged, xp.where(possible & (index == free), last, index))
    weights = xp.where(possible & (index == last), 0, ordered.weights)
    return amend(ordered, weights=weights)


def _as_lot(mixture: Mixture, lot: Any) -> Any:
    return module_of(mixture.means).asarray(lot, mixture.means.dtype)


def _parts(mixture: Mixture) -> Parts:
    k, d = mixture.means.shape
    dense = mixture.family.dense(mixture.covariances, k, d)
    return mixture.weights, mixture.means, dense, mixture.degrees_of_freedom


def _mixture(like: Mixture, parts: Parts, merges: tuple[Any, Any] | None, floor: Any) -> Mixture:
    """The mixture of parts; ``like`` itself where it has no pair that could be merged."""
    xp, (weights, means, spreads, dof) = module_of(like.means), parts
    before = like.family.dense(like.covariances, *means.shape)
    covariances = like.family.moved(like.covariances, before, spreads, weights, floor)
    if merges is not None:
        possible = xp.any(xp.isfinite(merges[0]))
        weights = xp.where(possible, weights, like.weights)
        means = xp.where(possible, means, like.means)
        covariances = xp.where(possible, covariances, like.covariances)
        dof = None if dof is None else xp.where(possible, dof, like.degrees_of_freedom)
    return amend(
        like, weights=weights, means=means, covariances=covariances, degrees_of_freedom=dof
    )


def _merged(parts: Parts, merges: tuple[Any, Any], lot: Any) -> tuple[Parts, Any]:
    """Two components as one, and the index that the other leaves free, of weight 0."""
    weights, means, spreads, dof = parts
    xp, k = module_of(means), len(means)
    index = np.arange(k, dtype=np.int32)
    costs, joint_spreads = merges
    n_pairs = xp.sum(xp.isfinite(costs), dtype=np.int32)
    rank = xp.floor(xp.log1p(-lot) / math.log1p(-_EAGER))
    rank = xp.minimum(rank.astype(np.int32), xp.maximum(n_pairs - 1, 0))
    pair = xp.argsort(costs.ravel())[rank].astype(np.int32)
    first, second = pair // k, pair % k
    one = index == first
    joint = weights[first] + weights[second]
    center = (weights[first] * means[first] + weights[second] * means[second]) / joint
    weights = xp.where(index == second, 0, xp.where(one, joint, weights))
    means = xp.where(one[:, None], center, means)
    spreads = xp.where(one[:, None, None], joint_spreads[first, second], spreads)
    return (weights, means, spreads, dof), second


def _split(parts: Parts, free: Any, floor: Any, lot: Any, family: Family) -> Parts:
    """One component as two, the second at the index ``free``."""
    weights, means, spreads, dof = parts
    xp, k = module_of(means), len(means)
    index = np.arange(k, dtype=np.int32)
    sizes = xp.cumsum(xp.sqrt(weights))
    chosen = xp.minimum(xp.sum(sizes <= lot[0] * sizes[-1], dtype=np.int32), k - 1)
    one, two = index == chosen, index == free
    # What stays above the floor: the halves of a component that is above it are so too.
    least = xp.diag(floor)
    above = spreads[chosen] - least
    offset = _OFFSET * _principal(xp, above)
    apart = above - offset[:, None] * offset[None, :]
    along = family.shared | (lot[1] < 0.6)  # or else into a core and a halo
    offset = xp.where(along, offset, 0)
    half = least + xp.where(along, apart, _NARROW * above)
    other = least + xp.where(along, apart, (2 - _NARROW) * above)
    weights = xp.where(one | two, weights[chosen] / 2, weights)
    center = means[chosen]
    means = xp.where(one[:, None], center + offset, means)
    means = xp.where(two[:, None], center - offset, means)
    spreads = xp.where(one[:, None, None], half, spreads)
    spreads = xp.where(two[:, None, None], other, spreads)
    dof = None if dof is None else xp.where(two, dof[chosen], dof)
    return weights, means, spreads, dof


def _principal(xp: Any, matrix: Any) -> Any:
    """The first principal axis of a matrix, as long as its standard deviation."""
    power = matrix
    for _ in range(6):  # the 64th power, of which only the largest eigenvalue is left
        power = power / xp.maximum(xp.trace(power), _TINY)
        power = power @ power
    column = power[:, xp.argmax(xp.diagonal(power))]
    axis = column / xp.maximum(xp.sqrt(xp.sum(column**2)), _TINY)
    return axis * xp.sqrt(xp.maximum(axis @ matrix @ axis, 0))
