"""The one loop of all fits: a solver steps, a stopping rule judges, the loop keeps the best.

A solver knows nothing of the loop, and the loop nothing of mixtures: what is climbed may be
anything that the solver evaluates.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm._status import Status
from jgmm._struct import struct
from jgmm.data.compensated import Compensated, constant

T = TypeVar("T")
RUNNING = -1


@struct
class Step(Generic[T]):
    """What a solver says of a step: where it was, and how high that is."""

    point: T  # what was evaluated
    value: Compensated[Array]  # its objective
    testable: Array  # [] bool, whether the gain says how much there is still to gain
    guess: Array  # [] bool, whether the point was a guess, whose failure means nothing


class Solver(Protocol):
    """A way to climb. Solvers are static: a program is compiled for each."""

    @property
    def keeps_best(self) -> bool:
        """Whether values of different steps compare, so that the best of them is the result."""

    @property
    def never_falls(self) -> bool:
        """Whether only rounding or a failed guess can make a step worse than the best so far."""

    def init(self, problem: Any, start: Any, key: Array) -> Any:
        """The state at a start."""

    def step(self, problem: Any, state: Any) -> tuple[Any, Step[Any]]:
        """Evaluate where the state is, in one pass over the data, and move on."""


class Foretelling(Solver, Protocol):
    """A solver that says beforehand what its next step evaluates, once, and nothing else.

    Then the pass over the data may be made elsewhere: see `jgmm.solvers.passes`.
    """

    def ahead(self, state: Any) -> Any:
        """What the next step from a state evaluates."""


class StoppingRule(Protocol):
    """When a run has converged."""

    @property
    def max_iter(self) -> Array:
        """Steps at most, []."""

    def origin(self) -> Compensated[Array]:
        """The value that the first is compared with."""

    def converged(self, gain: Array) -> Array:
        """Whether so much, gained since the last test, is little enough."""

    def relaxed(self, tol: float, max_iter: Any) -> Self:
        """The rule of a run that need not come nearer than ``tol``, nor take more steps."""


@struct
class Run(Generic[T]):
    """How a run ended."""

    best: T  # or the last, of a solver that keeps that
    value: Compensated[Array]  # its objective
    history: Array  # [capacity], the objective of the start and after each step; then NaN
    n_iter: Array  # [], steps
    status: Array  # [], a `Status`
    state: Any  # where the solver would have gone on


@struct
class Loop:
    """A run under way."""

    state: Any
    best: Any
    value: Compensated[Array]
    tested: Compensated[Array]  # the value at the last test
    n_evaluated: Array
    history: Array
    status: Array  # a `Status`, or RUNNING


def iterate(
    problem: Any, solver: Solver, start: T, stop: StoppingRule, capacity: int, key: Array
) -> Run[T]:
    """Climb from ``start`` until the stopping rule says so.

    Every step is one pass over the data: the solver evaluates a point and makes the next.

    Args:
        problem: what the solver climbs.
        solver: see `Solver`.
        start: where to start.
        stop: see `StoppingRule`.
        capacity: length of the history.
        key: a PRNG key, for solvers that draw.
    """
    loop = begun(problem, solver, start, stop, capacity, key)
    return ended(
        lax.while_loop(
            lambda s: s.status == RUNNING, lambda s: stepped(problem, solver, stop, s), loop
        )
    )


def begun(
    problem: Any, solver: Solver, start: T, stop: StoppingRule, capacity: int, key: Array
) -> Loop:
    """A run before its first step; see `iterate`."""
    origin = stop.origin()
    low = jnp.full_like(origin.value, -jnp.inf)
    return Loop(
        state=solver.init(problem, start, key),
        best=start,
        value=constant(low),
        tested=origin,
        n_evaluated=jnp.zeros((), jnp.int32),
        history=jnp.full(max(capacity, 1), jnp.nan, low.dtype),
        status=jnp.asarray(RUNNING, jnp.int32),
    )


def stepped(problem: Any, solver: Solver, stop: StoppingRule, s: Loop) -> Loop:
    """The run after one more step."""
    state, step = solver.step(problem, s.state)
    first = s.n_evaluated == 0
    finite = jnp.isfinite(step.value.value)
    better = finite
    if solver.keeps_best:
        better = finite & (first | (step.value.above(s.value) > 0))
    best, value = choose(better, (step.point, step.value), (s.best, s.value))
    # What can only be rounding, or a guess that failed, leaves things as they were.
    reached = value.value if solver.never_falls else step.value.value
    done = step.testable & stop.converged(value.above(s.tested))
    status = jnp.where(done, Status.CONVERGED, RUNNING)
    status = jnp.where(finite | step.guess, status, Status.DEGENERATE)
    status = jnp.where(first & ~finite, Status.NONFINITE, status)
    n_evaluated = s.n_evaluated + 1
    late = (status == RUNNING) & (n_evaluated > stop.max_iter)
    return Loop(
        state=state,
        best=best,
        value=value,
        tested=choose(step.testable | first, value, s.tested),
        n_evaluated=n_evaluated,
        history=s.history.at[s.n_evaluated].set(reached),
        status=jnp.where(late, Status.MAX_ITER, status).astype(jnp.int32),
    )


def ended(loop: Loop) -> Run[Any]:
    """How a run ended."""
    return Run(
        best=loop.best,
        value=loop.value,
        history=loop.history,
        n_iter=loop.n_evaluated - 1,
        status=loop.status,
        state=loop.state,
    )


def choose(condition: Array, yes: T, no: T) -> T:
    """One of two trees of arrays."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
