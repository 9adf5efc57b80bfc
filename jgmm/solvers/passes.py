"""The loop of a climb on the host, where each pass over the data is a loop of its own there.

The solver, the stopping rule and the turn are those of `jgmm.solvers.iterate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jgmm.data.compensated import Compensated
from jgmm.data.programs import program
from jgmm.em.problem import Problem
from jgmm.em.statistics import concluded
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import RUNNING, Foretelling, Loop, StoppingRule, turned


@program("solver", "incomplete", once=True)
def _turned(
    problem: Problem,
    total: Compensated[Any],
    stop: StoppingRule,
    loop: Loop,
    solver: Foretelling,
    incomplete: bool,
) -> Loop:
    point: Mixture = solver.ahead(loop.state)
    told = concluded(point, point.kernel(gaps=incomplete), total)
    return turned(problem.on(told), solver, stop, loop)


def climb(
    problem: Problem,
    solver: Foretelling,
    stop: StoppingRule,
    loop: Loop,
    total_of: Callable[[Mixture], Compensated[Any]],
    after: Callable[[Loop], None] = lambda loop: None,
    *,
    incomplete: bool = False,
) -> Loop:
    """A climb to its end.

    Args:
        problem: without samples.
        solver: see `Foretelling`.
        stop: see `StoppingRule`.
        loop: where it begins, or goes on.
        total_of: a pass over the data under a mixture in the frame: see `jgmm.em.passes`.
        after: called after each turn.
        incomplete: some features were not observed.
    """
    while int(loop.status) == RUNNING:
        total = total_of(solver.ahead(loop.state))
        loop = _turned(problem, total, stop, loop, solver, incomplete)
        after(loop)
    return loop
