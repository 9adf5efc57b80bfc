"""The steps of EM under a Potts prior: what `jgmm.image.potts` is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jgmm._struct import struct
from jgmm.em.steps import maximisation, moments, statistics
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.whitened import log_joint, whiten, whitening

_NEWTON = 2  # steps for β in a round
_MOST = 3.0  # the largest β: at it neighbours agree all but always
_DIAGONAL = 0.5**0.5  # w of diagonal neighbours


@struct
class NoisyImage:
    """Rows of pixels in the frame of the fit."""

    samples: jax.Array  # [H, D, W]
    mask: jax.Array  # [H, W], 1 for pixels that take part


def _logs(image: NoisyImage, mixture: Mixture) -> jax.Array:
    """Logarithms of 1/K times density, [K, H, W]."""
    k = mixture.n_components
    form = whitening(dataclasses.replace(mixture, weights=jnp.full_like(mixture.weights, 1 / k)))
    return lax.map(lambda x: log_joint(form, whiten(form, x)), image.samples).swapaxes(0, 1)


def _around(q: jax.Array) -> jax.Array:
    """The sum of w q [K, H, W] over the eight neighbours of each pixel."""
    padded = jnp.pad(q, ((0, 0), (1, 1), (1, 1)))
    beside = padded[:, :-2] + padded[:, 2:]
    sides = beside[:, :, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return sides + jnp.asarray(_DIAGONAL, q.dtype) * (beside[:, :, :-2] + beside[:, :, 2:])


def e_step(
    image: NoisyImage,
    mixture: Mixture,
    q: jax.Array,
    beta: jax.Array,
    hidden: jax.Array | None = None,
) -> jax.Array:
    """Update q; pixels that are hidden [H, W] know their neighbours only."""
    logs = _logs(image, mixture)
    if hidden is not None:
        logs = jnp.where(hidden, 0, logs)

    def update(lattice: jax.Array, q: jax.Array) -> jax.Array:
        joint = _lattice(logs, lattice) + beta * _lattice(_around(q), lattice)
        new = jax.nn.softmax(joint, axis=0) * _lattice(image.mask[None], lattice)
        k, height, width = q.shape
        cells = q.reshape(k, height // 2, 2, width // 2, 2)
        zero = jnp.zeros_like(lattice)
        place = (zero, zero, lattice // 2, zero, lattice % 2)
        return lax.dynamic_update_slice(cells, new[:, :, None, :, None], place).reshape(q.shape)

    return lax.fori_loop(0, 4, update, q)


def _lattice(values: jax.Array, lattice: jax.Array) -> jax.Array:
    """One of four interleaved lattices of [K, H, W], both even: [K, H / 2, W / 2]."""
    k, height, width = values.shape
    cells = values.reshape(k, height // 2, 2, width // 2, 2)
    rows = lax.dynamic_index_in_dim(cells, lattice // 2, axis=2, keepdims=False)
    return lax.dynamic_index_in_dim(rows, lattice % 2, axis=3, keepdims=False)


def m_step(
    image: NoisyImage, mixture: Mixture, q: jax.Array, covariance_type: str, floor: jax.Array
) -> Mixture:
    """The mixture of the labels; its weights are their shares."""
    form = whitening(mixture)

    def visit(total: Any, row: Any) -> Any:
        samples, r = row
        added = moments(form, samples, whiten(form, samples), r)
        return (added if total is None else jax.tree.map(jnp.add, total, added)), None

    rows = (image.samples, q.swapaxes(0, 1))
    shapes = jax.eval_shape(visit, None, jax.tree.map(lambda leaf: leaf[0], rows))[0]
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = lax.scan(visit, zero, rows)
    return maximisation(mixture, statistics(form, total), covariance_type, floor)


def objective(image: NoisyImage, mixture: Mixture, q: jax.Array, beta: jax.Array) -> jax.Array:
    """What the fit maximises, per pixel; see `jgmm.image.potts`."""
    n = jnp.sum(image.mask)
    logs = jnp.where(q > 0, _logs(image, mixture) - jnp.log(jnp.where(q > 0, q, 1)), 0)
    unlike = jnp.sum(image.mask * _around(image.mask[None])[0]) - jnp.sum(q * _around(q))
    return jnp.sum(jnp.sum(q * logs, axis=(0, 1))) / n - beta * unlike / (2 * n)


def foretold(
    image: NoisyImage, mixture: Mixture, q: jax.Array, beta: jax.Array, hidden: jax.Array
) -> jax.Array:
    """The log-likelihood of hidden pixels, given the labels of their neighbours."""
    prior = jax.nn.log_softmax(beta * _around(q), axis=0)
    found = jax.nn.logsumexp(prior + _logs(image, mixture), axis=0)
    return jnp.sum(jnp.where(hidden, image.mask * found, 0))


def foretelling(
    image: NoisyImage, mixture: Mixture, q: jax.Array, beta: jax.Array, hidden: jax.Array
) -> jax.Array:
    """The β under which neighbours foretell hidden pixels best, by steps of EM.

    The labels of those are what EM fills in; a step of Newton's method follows.
    """
    around = _around(q)
    logs = _logs(image, mixture)
    counted = jnp.where(hidden, image.mask, 0)

    def newton(_: Any, beta: jax.Array) -> jax.Array:
        before = jax.nn.softmax(beta * around, axis=0)
        after = jax.nn.softmax(beta * around + logs, axis=0)
        expected = jnp.sum(before * around, axis=0)
        slope = jnp.sum(counted * (jnp.sum(after * around, axis=0) - expected))
        spread = jnp.sum(counted * jnp.sum(before * (around - expected) ** 2, axis=0))
        change = slope / jnp.maximum(spread, jnp.asarray(1e-3, q.dtype))
        return jnp.clip(beta + jnp.clip(change, -0.5, 0.5), 0, _MOST)

    return lax.fori_loop(0, _NEWTON, newton, beta)
