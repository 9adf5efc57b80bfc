"""Any optimizer of optax as a solver.

The parameters are free: a softmax of the weights, and covariances Σ = floor + F Fᵀ. A step of the
optimizer is a step from the mixture where it is, in units of what its components tell of
themselves (their complete-data information): the way of steepest ascent is then to first order
that of EM, whatever the sizes of the components. What an optimizer sees as its parameters is the
sum of these steps.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jgmm._struct import amend, struct
from jgmm.data.compensated import constant
from jgmm.data.subsample import batches
from jgmm.em.problem import Problem
from jgmm.mixture.mixture import Mixture, log_weights, no_growth
from jgmm.solvers.iterate import Step

# The gain is tested every so many steps: an optimizer may go down before it goes up.
_PATIENCE = 20
Parameters = tuple[Array, Array, Array, Array | None]


@struct
class _State:
    place: Mixture  # of its covariances what is movable above the floor
    path: Parameters  # the sum of all steps
    memory: Any  # the optimizer's
    key: Array
    n: Array  # steps taken


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Steps of an optimizer, on all samples or on a batch of them at a time."""

    optimizer: optax.GradientTransformation
    batch_size: int | None = None

    @property
    def keeps_best(self) -> bool:
        """Values of batches do not compare."""
        return self.batch_size is None

    @property
    def never_falls(self) -> bool:
        """An optimizer may go down before it goes up."""
        return False

    def init(self, problem: Problem, start: Mixture, key: Array) -> _State:
        """At the start; covariances at the floor rise to where they can rise and fall."""
        place = _enter(start, problem.floor.variances)
        growth = place.family.tangent_shape(*start.means.shape)
        path = (
            jnp.zeros_like(place.weights),
            jnp.zeros_like(place.means),
            jnp.zeros(growth, place.means.dtype),
            no_growth(place),
        )
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes in its counters
            memory = self.optimizer.init(path)
        return _State(place=place, path=path, memory=memory, key=key, n=jnp.zeros((), jnp.int32))

    def step(self, problem: Problem, state: _State) -> tuple[_State, Step[Mixture]]:
        """The objective and its gradient, of all samples or the next batch, and a step."""
        floor = problem.floor.variances
        part = problem
        if self.batch_size is not None:
            part = problem.on(batches(problem.samples, self.batch_size, state.key)(state.n))

        def loss(path: Parameters) -> Array:
            step = jax.tree.map(jnp.subtract, path, state.path)
            return -part.objective(_leave(_move(state.place, step, floor), floor))

        value, grad = jax.value_and_grad(loss)(state.path)
        optimizer = optax.with_extra_args_support(self.optimizer)
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(
                grad, state.memory, state.path, value=value, grad=grad, value_fn=loss
            )
            path = optax.apply_updates(state.path, updates)
        step = Step(
            point=_leave(state.place, floor),
            value=constant(-value),
            testable=(state.n % _PATIENCE == 0) & self.keeps_best,
            guess=jnp.asarray(False),
        )
        following = _State(
            place=_move(state.place, updates, floor),
            path=path,
            memory=memory,
            key=state.key,
            n=state.n + 1,
        )
        return following, step


def _enter(mixture: Mixture, floor: Array) -> Mixture:
    """Roots of what covariances have above the floor, of which there is at least once the floor."""
    family = mixture.family
    above = family.clip(mixture.covariances, 2 * floor) - family.diagonal(floor)
    return amend(mixture, covariances=family.movable(above))


def _leave(place: Mixture, floor: Array) -> Mixture:
    family = place.family
    covariances = family.square(place.covariances) + family.diagonal(floor)
    return amend(place, covariances=covariances)


def _move(place: Mixture, step: Parameters, floor: Array) -> Mixture:
    """A step in log weights, whitened means, roots and log degrees of freedom.

    All are in units of their uncertainty.

    Roots add up. Were they to multiply, those near 0 would never come nearer.
    """
    log_ratios, shifts, growth, longer = step
    family, d = place.family, place.n_features
    used = place.weights > 0
    weights = lax.stop_gradient(jnp.where(used, place.weights, 1))
    unit = lax.rsqrt(weights)
    logits = log_weights(place.weights) + log_ratios * unit
    root = family.root(_leave(place, floor).covariances)
    masses = family.masses(lax.stop_gradient(place.weights))
    alone = lax.rsqrt(jnp.where(masses > 0, masses, 1))
    return amend(
        place,
        weights=jax.nn.softmax(jnp.where(used, logits, -jnp.inf)),
        means=place.means + family.apply(root, shifts * unit[:, None]),
        covariances=place.covariances + family.push(root, growth * alone[:, None], d),
        degrees_of_freedom=place.distribution.near(place.degrees_of_freedom, longer, weights),
    )
