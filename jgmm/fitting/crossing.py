"""Runs on all samples behind a search: as ever for some steps, then across a plateau if they must.

Most end before. The program that crosses is another, compiled where it is needed for the first
time; so it is only for fits on the host, taken one after the other.
"""

from __future__ import annotations

import dataclasses

from jax import Array

from jgmm._status import Status
from jgmm.data import monitor
from jgmm.data.samples import Span
from jgmm.fitting.batch import whole
from jgmm.fitting.options import Request, as_int32
from jgmm.fitting.running import Numbers, after_search, run
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, StoppingRule
from jgmm.solvers.scouting import Scouting
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stages import Stage

PATIENCE = 45  # steps after which a run is taken to be on a plateau: one in twenty


def run_behind(
    request: Request, rows: Numbers, keys: Array, mixtures: Mixture, stop: StoppingRule
) -> Run[Mixture]:
    """Runs on all samples from mixtures [S, R], as the search left them."""
    problem = whole(request.problem, request.options.cut)
    if not _crosses(request, stop):
        return run(request, problem, rows, keys, mixtures, stop)
    first = run(request, problem, rows, keys, mixtures, stop.relaxed(0, as_int32(PATIENCE)))
    if first.status.item() != Status.MAX_ITER:
        return first
    if (who := monitor.listener()) is not None:
        who.expect(1)
    cut = request.options.cut
    assert cut.few is not None
    stages = (Stage(Scouting(cut.spare, cut.few)),)
    scouts = dataclasses.replace(
        request, options=dataclasses.replace(request.options, stages=stages)
    )
    left = stop.relaxed(0, as_int32(int(stop.max_iter) - PATIENCE))
    second = run(scouts, problem, rows, keys, first.best, left)
    return after_search(second, first.history[..., : first.n_iter.item()])


def _crosses(request: Request, stop: StoppingRule) -> bool:
    """Whether there is a subsample that could show the way, and time for it."""
    options = request.options
    return (
        request.sequential
        and options.cut.few is not None
        and options.stages == (Stage(Squarem()),)
        and isinstance(request.problem.samples.visited, Span)
        and int(stop.max_iter) > PATIENCE
    )
