"""The components of mixtures in another order, fewer or more of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.arrays import lengthened
from jgmm.mixture.mixture import Mixture


def take(mixture: Mixture, index: Any) -> Mixture:
    """Some of the components, in the order of ``index``: indices or a slice.

    Nothing is compiled for parameters that are NumPy arrays.
    """
    return amend(
        mixture,
        weights=mixture.weights[index],
        means=mixture.means[index],
        covariances=mixture.family.take(mixture.covariances, index),
        degrees_of_freedom=_taken(mixture.degrees_of_freedom, index),
    )


def _taken(leaf: Any, index: Any) -> Any:
    return None if leaf is None else leaf[index]


def by_weight(mixture: Mixture) -> Mixture:
    """The components in order of decreasing weight; of mixtures [..., K], in each.

    On the host nothing is compiled.
    """
    concrete = _checks.all_concrete(mixture)
    host: Mixture = jax.device_get(mixture) if concrete else mixture
    xp: Any = np if concrete else jnp
    order = xp.argsort(-host.weights, axis=-1, stable=True)
    if order.ndim == 1:
        taken = take(host, order)
    else:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[order.ndim - 1 :]), host)
        rows = order.reshape(-1, order.shape[-1])
        each = [take(jax.tree.map(lambda leaf, i=i: leaf[i], flat), o) for i, o in enumerate(rows)]
        stacked = jax.tree.map(lambda *leaves: xp.stack(leaves), *each)
        taken = jax.tree.map(lambda leaf: leaf.reshape(*order.shape[:-1], *leaf.shape[1:]), stacked)
    return jax.tree.map(_checks.as_array, taken) if concrete else taken


def pad(mixture: Mixture, k: int) -> Mixture:
    """``k`` components, those behind of weight 0; on the host for NumPy arrays."""
    more = k - mixture.n_components
    xp: Any = np if isinstance(mixture.means, np.ndarray) else jnp

    dof = mixture.degrees_of_freedom
    return amend(
        mixture,
        weights=xp.concatenate([mixture.weights, xp.zeros(more, mixture.weights.dtype)]),
        means=lengthened(mixture.means, k),
        covariances=mixture.family.pad(mixture.covariances, k),
        degrees_of_freedom=None if dof is None else lengthened(dof, k),
    )


def few_sizes(mixture: Mixture) -> Mixture:
    """The mixture with components of weight 0 up to one of few numbers.

    Mixtures of different k then share one compiled program.
    """
    k = mixture.n_components
    size = -(-k // 4) * 4 if k <= 16 else 1 << (k - 1).bit_length()
    padded = pad(jax.device_get(mixture), size)
    return jax.tree.map(_checks.as_array, padded)
