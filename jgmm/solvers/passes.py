"""The loop of a run on the host, where each pass over the data is a loop of its own there.

The solver, the stopping rule and the step are those of `jgmm.solvers.iterate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jgmm.data.compensated import Compensated
from jgmm.data.programs import program
from jgmm.em.problem import Problem
from jgmm.em.statistics import Elsewhere, concluded
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import RUNNING, Foretelling, Loop, StoppingRule, stepped


@program("solver", "incomplete", once=True)
def _stepped(
    problem: Problem[Elsewhere],
    total: Compensated[Any],
    stop: StoppingRule,
    loop: Loop,
    solver: Foretelling,
    incomplete: bool,
) -> Loop:
    point: Mixture = solver.ahead(loop.state)
    told = concluded(point, point.kernel(gaps=incomplete), total)
    return stepped(problem.on(told), solver, stop, loop)


def run(
    problem: Problem[Elsewhere],
    solver: Foretelling,
    stop: StoppingRule,
    loop: Loop,
    total_of: Callable[[Mixture], Compensated[Any]],
    after: Callable[[Loop], None] = lambda loop: None,
    *,
    incomplete: bool = False,
) -> Loop:
    """A run to its end.

    Args:
        problem: whose samples are elsewhere.
        solver: see `Foretelling`.
        stop: see `StoppingRule`.
        loop: where it begins, or goes on.
        total_of: a pass over the data under a mixture in the frame: see `jgmm.em.passes`.
        after: called after each step.
        incomplete: some features were not observed.
    """
    while int(loop.status) == RUNNING:
        total = total_of(solver.ahead(loop.state))
        loop = _stepped(problem, total, stop, loop, solver, incomplete)
        after(loop)
    return loop
