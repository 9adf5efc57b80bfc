"""The steps of EM under a Potts prior: what `jgmm.image.potts` is made of.

An image is samples in a frame whose blocks are its rows, with the mask as weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from jgmm import _checks
from jgmm._struct import amend, struct
from jgmm.data.compensated import constant
from jgmm.data.samples import Block, Everything, Layout, Samples
from jgmm.em.maximisation import maximisation
from jgmm.em.problem import Problem
from jgmm.em.statistics import statistics
from jgmm.families.kernels import Whitened
from jgmm.image.spatial import padded
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.posterior import log_joint
from jgmm.solvers.iterate import Step

NdArray = npt.NDArray[Any]

_NEWTON = 2  # steps for β in a round
_MOST = 3.0  # the largest β: at it neighbours agree all but always
_DIAGONAL = 0.5**0.5  # w of diagonal neighbours
AVERAGES = 3, 5, 9  # pixels on a side, of the squares that starts see


def as_samples(values: NdArray, inside: NdArray) -> Samples:
    """An image [H, W, D] and its mask [H, W], padded to one of few sizes."""
    pixels, weights = padded(values, inside)
    return Samples(
        features=_checks.as_array(pixels.swapaxes(1, 2)),
        weights=_checks.as_array(weights),
        visited=Everything(),
        layout=Layout(length=weights.size),
    )


def average(values: NdArray, inside: NdArray, size: int) -> NdArray:
    """Means over squares of so many pixels on a side, of those that take part."""
    from scipy.ndimage import uniform_filter

    masked = np.where(inside[..., None], values, values.dtype.type(0))
    weight = uniform_filter(inside.astype(masked.dtype), size)[..., None]
    mean: NdArray = uniform_filter(masked, (size, size, 1)) / np.maximum(weight, 1e-3)
    return mean


def smoothed(values: NdArray, inside: NdArray) -> Iterator[jax.Array]:
    """What starts are made of: means over squares [H, W, D], of pixels that take part.

    Those tell classes apart where single pixels do not. Wide squares see classes that are rare,
    narrow ones classes that are thin.
    """
    for size in AVERAGES:
        yield _checks.as_array(average(values, inside, size))


def _logs(image: Samples, mixture: Mixture) -> jax.Array:
    """Logarithms of 1/K times density, [K, H, W]."""
    even = jnp.full_like(mixture.weights, 1 / mixture.n_components)
    mixture = amend(mixture, weights=even)
    kernel = mixture.kernel()
    logs = lax.map(lambda row: log_joint(mixture, kernel.evaluate(row)), image.blocks)
    return logs.swapaxes(0, 1)


def _around(q: jax.Array) -> jax.Array:
    """The sum of w q [K, H, W] over the eight neighbours of each pixel."""
    padded = jnp.pad(q, ((0, 0), (1, 1), (1, 1)))
    beside = padded[:, :-2] + padded[:, 2:]
    sides = beside[:, :, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return sides + jnp.asarray(_DIAGONAL, q.dtype) * (beside[:, :, :-2] + beside[:, :, 2:])


def e_step(
    image: Samples,
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
        new = jax.nn.softmax(joint, axis=0) * _lattice(image.weights[None], lattice)
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


def m_step(problem: Problem, mixture: Mixture, q: jax.Array) -> Mixture:
    """The mixture of the labels; its weights are their shares."""
    image = dataclasses.replace(problem.samples, hints=q.swapaxes(0, 1))

    def given(row: Block, whitened: Whitened) -> jax.Array:
        assert row.hints is not None
        return row.hints

    stats = statistics(mixture, image, given)
    return maximisation(mixture, stats, problem.family, problem.floor)


def objective(image: Samples, mixture: Mixture, q: jax.Array, beta: jax.Array) -> jax.Array:
    """What the fit maximises, per pixel; see `jgmm.image.potts`."""
    n = jnp.sum(image.weights)
    logs = jnp.where(q > 0, _logs(image, mixture) - jnp.log(jnp.where(q > 0, q, 1)), 0)
    unlike = jnp.sum(image.weights * _around(image.weights[None])[0]) - jnp.sum(q * _around(q))
    return jnp.sum(jnp.sum(q * logs, axis=(0, 1))) / n - beta * unlike / (2 * n)


def heldout_log_likelihood(
    image: Samples, mixture: Mixture, q: jax.Array, beta: jax.Array, hidden: jax.Array
) -> jax.Array:
    """The log-likelihood of hidden pixels, given the labels of their neighbours."""
    prior = jax.nn.log_softmax(beta * _around(q), axis=0)
    found = jax.nn.logsumexp(prior + _logs(image, mixture), axis=0)
    return jnp.sum(jnp.where(hidden, image.weights * found, 0))


def best_coupling(
    image: Samples, mixture: Mixture, q: jax.Array, beta: jax.Array, hidden: jax.Array
) -> jax.Array:
    """The β under which neighbours foretell hidden pixels best, by steps of EM.

    The labels of those are what EM fills in; a step of Newton's method follows.
    """
    around = _around(q)
    logs = _logs(image, mixture)
    counted = jnp.where(hidden, image.weights, 0)

    def newton(_: Any, beta: jax.Array) -> jax.Array:
        before = jax.nn.softmax(beta * around, axis=0)
        after = jax.nn.softmax(beta * around + logs, axis=0)
        expected = jnp.sum(before * around, axis=0)
        slope = jnp.sum(counted * (jnp.sum(after * around, axis=0) - expected))
        spread = jnp.sum(counted * jnp.sum(before * (around - expected) ** 2, axis=0))
        change = slope / jnp.maximum(spread, jnp.asarray(1e-3, q.dtype))
        return jnp.clip(beta + jnp.clip(change, -0.5, 0.5), 0, _MOST)

    return lax.fori_loop(0, _NEWTON, newton, beta)


@struct
class TiedProblem:
    """A problem in which neighbours are tied."""

    problem: Problem
    beta: jax.Array


Place = tuple[Mixture, jax.Array]  # and q [K, H, W]


@dataclasses.dataclass(frozen=True)
class NeighbourhoodEm:
    """EM under the Potts prior, as a solver. No step lowers the objective."""

    @property
    def keeps_best(self) -> bool:
        """The last is the best, and keeping two of q would take twice the memory."""
        return False

    @property
    def never_falls(self) -> bool:
        """The history has every value as it is."""
        return False

    def init(self, problem: TiedProblem, start: Place, key: jax.Array) -> Place:
        """The start."""
        return start

    def step(self, problem: TiedProblem, state: Place) -> tuple[Place, Step[Place]]:
        """The best q of a mixture, their objective, and the mixture that follows."""
        mixture, q = state
        image = problem.problem.samples
        q = e_step(image, mixture, q, problem.beta)
        value = objective(image, mixture, q, problem.beta)
        yes = jnp.asarray(True)
        step = Step(point=(mixture, q), value=constant(value), testable=yes, guess=~yes)
        return (m_step(problem.problem, mixture, q), q), step
