"""SQUAREM: squared extrapolation around an EM map (Varadhan and Roland 2008).

Three successive mixtures of plain EM show the direction and the rate of its convergence; the
extrapolation goes along that direction as far as the rate suggests, in a chart where every point
is a mixture. One whose objective is below the best so far is dropped.

Lengths are measured in the Fisher information of samples whose components are known. In that metric
the Jacobian of EM is self-adjoint, and it weighs a parameter by what it means to the data: a small
component's mean for little, a mean along a narrow direction for much.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import amend, struct
from jgmm.data.compensated import Compensated, constant
from jgmm.em.problem import Problem
from jgmm.mixture.mixture import Mixture, log_weights
from jgmm.solvers.iterate import Step, choose

T = TypeVar("T")
Chart = tuple[Array, ...]
# Where a cycle is.
_START, _ONE_STEP_ON, _FAR = 0, 1, 2


@struct
class _State:
    point: Mixture  # to be evaluated next
    value: Compensated[Array]  # the best so far
    start: Mixture  # where the cycle started
    fallback: Mixture  # plain EM's own next point, should the extrapolation not do
    longest: Array  # the longest step allowed
    phase: Array


@dataclasses.dataclass(frozen=True)
class Squarem:
    """EM that proposes an extrapolated point after every second step."""

    @property
    def keeps_best(self) -> bool:
        """Likelihoods compare."""
        return True

    @property
    def never_falls(self) -> bool:
        """Extrapolations that do not climb are dropped."""
        return True

    def init(self, problem: Problem, start: Mixture, key: Array) -> _State:
        """At the start of a cycle."""
        return _State(
            point=start,
            value=constant(jnp.asarray(-jnp.inf, start.means.dtype)),
            start=start,
            fallback=start,
            longest=jnp.asarray(4, start.means.dtype),
            phase=jnp.asarray(_START, jnp.int32),
        )

    def ahead(self, state: _State) -> Mixture:
        """The point of a cycle that is next, or an extrapolation."""
        return state.point

    def step(self, problem: Problem, state: _State) -> tuple[_State, Step[Mixture]]:
        """A step of EM, and every second time an extrapolation from there.

        One short step of EM says little about what a long one can gain: a stopping rule may judge
        the step after an extrapolation.
        """
        point = state.point
        following, value = problem.step(point)
        better = jnp.isfinite(value.value) & (value.above(state.value) > 0)
        moved = dataclasses.replace(
            state, point=following, value=choose(better, value, state.value)
        )
        step = Step(
            point=point,
            value=value,
            testable=state.phase == _ONE_STEP_ON,
            guess=state.phase == _FAR,
        )

        def leap(s: _State) -> _State:
            return _leap(problem, s, point)

        def begin(s: _State) -> _State:
            return _begin(s, point, better)

        return lax.cond(state.phase == _ONE_STEP_ON, leap, begin, moved), step


def _leap(problem: Problem, state: _State, point: Mixture) -> _State:
    """Extrapolate from the start of the cycle, ``point`` and its successor."""
    far, length = extrapolate(state.start, point, state.point, state.longest)
    covariances = far.family.member(far.covariances, far.weights)
    far = amend(far, covariances=problem.floor.under(far.family, covariances))
    longest = jnp.where(length >= state.longest, 4 * state.longest, state.longest)
    return dataclasses.replace(
        state,
        point=far,
        fallback=state.point,
        longest=longest,
        phase=jnp.full_like(state.phase, _FAR),
    )


def _begin(state: _State, point: Mixture, accepted: Array) -> _State:
    """Take ``point`` as the start of a cycle, unless it is an extrapolation that failed."""
    keep = (state.phase == _START) | accepted
    return dataclasses.replace(
        state,
        start=choose(keep, point, state.start),
        point=choose(keep, state.point, state.fallback),
        longest=jnp.where(keep, state.longest, jnp.maximum(state.longest / 4, 1)),
        phase=jnp.where(keep, _ONE_STEP_ON, _START).astype(jnp.int32),
    )


def chart_of(mixture: Mixture) -> Chart:
    """Log weights, means, covariances in their family's chart, and degrees of freedom in theirs."""
    logits = jnp.where(mixture.weights > 0, log_weights(mixture.weights), 0)
    covariances = mixture.family.unconstrained(mixture.covariances)
    dof = mixture.distribution.unconstrained(mixture.degrees_of_freedom)
    return logits, mixture.means, covariances, *([] if dof is None else [dof])


def mixture_at(chart: Chart, like: Mixture) -> Mixture:
    """The mixture at a place of the chart; components that ``like`` does not use get weight 0."""
    logits, means, covariances, *dof = chart
    return amend(
        like,
        weights=jax.nn.softmax(jnp.where(like.weights > 0, logits, -jnp.inf)),
        means=means,
        covariances=like.family.constrained(covariances),
        degrees_of_freedom=like.distribution.constrained(
            dof[0] if dof else None, like.degrees_of_freedom
        ),
    )


def extrapolate(
    zeroth: Mixture, first: Mixture, second: Mixture, longest: Array
) -> tuple[Mixture, Array]:
    """The squared extrapolation of three successive mixtures.

    Args:
        zeroth: where the cycle starts.
        first: one EM step on.
        second: two EM steps on.
        longest: the largest step length allowed, >= 1.

    Returns:
        The extrapolated mixture, and the step length taken: 1 is ``second`` itself.
    """
    # Stacked, to be compiled once and not three times.
    charts = jax.vmap(chart_of)(_stack(zeroth, first, second))
    start = jax.tree.map(lambda leaf: leaf[0], charts)
    r = jax.tree.map(lambda leaf: leaf[1] - leaf[0], charts)
    v = jax.tree.map(lambda leaf: leaf[2] - 2 * leaf[1] + leaf[0], charts)
    rate, curvature = jax.vmap(information_norm, (None, 0))(second, _stack(r, v))
    length = jnp.sqrt(rate / jnp.maximum(curvature, np.finfo(longest.dtype).tiny))
    length = jnp.clip(length, 1, longest)
    far = jax.tree.map(lambda x, r, v: x + 2 * length * r + length**2 * v, start, r, v)
    return mixture_at(far, second), length


def _stack(*trees: T) -> T:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def information_norm(mixture: Mixture, change: Chart) -> Array:
    """The squared length of a small change in the chart.

    Half of it is the Kullback-Leibler divergence of the changed mixture from the one given, for
    samples whose components are known.
    """
    family, weights, d = mixture.family, mixture.weights, mixture.n_features
    logits, means, charted, *tails = change
    inverse, _ = family.inverse_root(mixture.covariances, d)
    moved = jnp.sum(family.apply(inverse, means) ** 2, axis=-1)
    at = family.unconstrained(mixture.covariances)
    _, covariances = jax.jvp(family.constrained, (at,), (charted,))
    turned = family.isometric(inverse, covariances, d)
    spread = jnp.sum(turned**2, axis=tuple(range(1, turned.ndim)))
    shift = logits - weights @ logits
    length = weights @ (shift**2 + moved) + family.masses(weights) @ spread
    told = mixture.distribution.information(mixture.degrees_of_freedom)
    return length if told is None else length + weights @ (told * tails[0] ** 2)
