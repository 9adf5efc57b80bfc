"""A run that, where it has settled, tries whether fewer components do as well.

Two components that share a Gaussian are an optimum that no step leads away from (Ueda and
Ghahramani 2002). So pairs that are alike are merged, one pair after the other; where a few steps
from there do not come above the best so far, it goes on from that.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import struct
from jgmm.data.compensated import Compensated, constant
from jgmm.solvers.iterate import Step, choose

_SETTLED = 1e-5  # nats per sample that a step gains, below which pairs are tried
_TOGETHER = 10  # steps, what the stopping rule judges: float32 does not see the gain of one
_PATIENCE = 4  # evaluations that a merged pair has to come above the best


class Mergeable(Protocol):
    """What knows a map that climbs, and pairs that are alike."""

    def step(self, point: Any) -> tuple[Any, Compensated[Array]]:
        """The next point, and the objective of the one given."""

    def merged(self, point: Any, rank: Array) -> tuple[Any, Array]:
        """The point with the pair of that rank merged, and whether there is one worth a try."""

    @property
    def most_pairs(self) -> Array:
        """How many are tried at most."""


@struct
class _State:
    point: Any  # to be evaluated next
    home: Any  # where to go on from, should the pair not do
    value: Compensated[Array]  # the best so far
    rank: Array  # [] of the pair that is tried, or is to be tried next
    left: Array  # [] evaluations that are left to it; 0 while none is tried
    n: Array  # [] steps so far


@dataclasses.dataclass(frozen=True)
class Merging:
    """Steps of a map that climbs, and merges where they gain little."""

    merges: bool = True

    @property
    def keeps_best(self) -> bool:
        """Objectives compare."""
        return True

    @property
    def never_falls(self) -> bool:
        """Merges that do not climb are dropped."""
        return True

    def init(self, problem: Mergeable, start: Any, key: Array) -> _State:
        """The start, and no pair yet."""
        zero = jnp.zeros((), jnp.int32)
        return _State(
            point=start,
            home=start,
            value=constant(jnp.asarray(-jnp.inf, start.means.dtype)),
            rank=zero,
            left=zero,
            n=zero,
        )

    def step(self, problem: Mergeable, state: _State) -> tuple[_State, Step[Any]]:
        """A step, and from where nothing is gained the next pair."""
        following, value = problem.step(state.point)
        gain = value.above(state.value)
        trying = state.left > 0
        better = gain > 0
        failed = trying & ~better & (state.left == 1)
        # A merge that does as well starts the trials anew.
        rank = jnp.where(trying, jnp.where(better, 0, state.rank), state.rank)
        rank = jnp.where(failed, rank + 1, rank)
        home = choose(trying, state.home, following)
        most = problem.most_pairs if self.merges else 0
        untried = rank < most
        settled = ~trying & (gain < _SETTLED)
        wanted = (failed | settled) & untried

        def propose(home: Any) -> tuple[Any, Array]:
            return problem.merged(home, rank)

        def stay(home: Any) -> tuple[Any, Array]:
            return home, jnp.zeros((), bool)

        pair, worth = lax.cond(wanted, propose, stay, home)
        # Nothing is left to be tried once the next pair is not worth it.
        exhausted = ~untried | (wanted & ~worth)
        going_on = choose(trying & ~failed, following, home)
        moved = _State(
            point=choose(worth, pair, going_on),
            home=home,
            value=choose(better, value, state.value),
            rank=jnp.where(exhausted, most, rank).astype(jnp.int32),
            left=jnp.where(
                worth, _PATIENCE, jnp.where(trying & ~better & ~failed, state.left - 1, 0)
            ).astype(jnp.int32),
            n=state.n + 1,
        )
        testable = ~trying & exhausted & (state.n % _TOGETHER == 0)
        step = Step(point=state.point, value=value, testable=testable, guess=trying)
        return moved, step
