"""EM on all samples to which some of them show the way across plateaus.

Where components exchange samples, the likelihood rises so slowly that it takes a hundred passes. A
subsample shows the way at a fraction of the cost, but its own way ends elsewhere. So what its EM
map lacks to the map of all samples, where both are known, is added to each of its steps: then both
have the same fixed points (a correction as in multigrid methods, Brandt 1977, and as the control
variates of stochastic EM, Chen, Zhu, Teh and Zhang 2018). All samples judge where it has led.
"""

from __future__ import annotations

import dataclasses
import operator

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import amend, struct
from jgmm.data.compensated import Compensated, constant
from jgmm.em.problem import Problem
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Step, choose
from jgmm.solvers.squarem import Chart, chart_of, mixture_at

# Steps over the subsample between two over all samples, at most.
_STEPS = 16


@struct
class _State:
    point: Mixture  # to be evaluated next
    value: Compensated[Array]  # the best so far
    best: Mixture  # where that was
    following: Mixture  # plain EM's own next point from there
    n_ahead: Array  # steps over the subsample that led to the point; 0 for a plain one


@dataclasses.dataclass(frozen=True)
class Scouting:
    """Steps of all samples, each of which some samples go on from.

    Where that led down, the way from the best point is gone less far; at last not at all, which is
    plain EM.
    """

    spare: int  # blocks behind those of all samples, where the few are
    few: int  # how many they are, on each device

    @property
    def keeps_best(self) -> bool:
        """Likelihoods compare."""
        return True

    @property
    def never_falls(self) -> bool:
        """Points that are no higher are dropped."""
        return True

    def init(self, problem: Problem, start: Mixture, key: Array) -> _State:
        """Before the first pass."""
        return _State(
            point=start,
            value=constant(jnp.asarray(-jnp.inf, start.means.dtype)),
            best=start,
            following=start,
            n_ahead=jnp.asarray(_STEPS, jnp.int32),
        )

    def step(self, problem: Problem, state: _State) -> tuple[_State, Step[Mixture]]:
        """One pass over all samples, and some over the few."""
        following, value = problem.step(state.point)
        better = jnp.isfinite(value.value) & (value.above(state.value) > 0)
        here = state.point, following, value
        best, following, highest = choose(better, here, (state.best, state.following, state.value))
        plain = state.n_ahead == 0
        step = Step(point=state.point, value=value, testable=better | plain, guess=~plain)
        further = jnp.clip(2 * state.n_ahead, 1, _STEPS)
        n_ahead = jnp.where(better, further, state.n_ahead // 4)
        few = problem.on(problem.samples.behind(self.spare, self.few))
        onwards = _State(
            point=_ahead(few, best, following, n_ahead),
            value=highest,
            best=best,
            following=following,
            n_ahead=n_ahead,
        )
        return onwards, step


def _ahead(few: Problem, at: Mixture, following: Mixture, n: Array) -> Mixture:
    """Where ``n`` steps on few samples lead from the successor of a mixture.

    Args:
        few: the problem of these samples.
        at: a mixture.
        following: its successor by all samples.
        n: how many; after none it is the successor itself.
    """

    def step(i: Array, walk: tuple[Mixture, Chart]) -> tuple[Mixture, Chart]:
        point, lack = walk
        chart = chart_of(few.step(point)[0])
        lack = choose(i == 0, jax.tree.map(operator.sub, chart_of(following), chart), lack)
        further = mixture_at(jax.tree.map(operator.add, chart, lack), following)
        covariances = further.family.member(further.covariances, further.weights)
        covariances = few.floor.under(further.family, covariances)
        return choose(i == 0, following, amend(further, covariances=covariances)), lack

    nothing = jax.tree.map(jnp.zeros_like, chart_of(at))
    end: Mixture = lax.fori_loop(0, n + 1, step, (at, nothing))[0]
    return end
