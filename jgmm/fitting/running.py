"""Runs of a request from given mixtures, by the one program that they share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from jgmm.data import monitor
from jgmm.data.arrays import lengthened, module_of
from jgmm.data.interruptible import side_by_side
from jgmm.data.samples import Span
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.fitting.batch import iterated, over
from jgmm.fitting.options import Request, as_int32
from jgmm.fitting.population import LARGEST_BATCH
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, StoppingRule
from jgmm.solvers.stages import Stage, run_stages

Numbers = Sequence[int]  # which of a request's numbers of components


def run(
    request: Request,
    problem: Problem,
    rows: Numbers,
    keys: Array,
    mixtures: Mixture,
    stop: StoppingRule | None = None,
) -> Run[Mixture]:
    """Runs from mixtures [S, R] with keys [R]; on a CPU from one, as from one of many."""
    if request.sequential:
        return run_batch(request, problem, rows, keys, mixtures, 1, stop)
    runs = _iterated(request, problem, rows, keys, mixtures, stop)
    tell(request, problem, rows, runs)
    return runs


def run_batch(
    request: Request,
    problem: Problem,
    rows: Numbers,
    keys: Array,
    mixtures: Mixture,
    n: int,
    stop: StoppingRule | None = None,
    n_threads: int = 1,
) -> Run[Mixture]:
    """Runs from the first ``n`` of mixtures [1, L] with one key, results [1, n] on the host.

    Args:
        request: what they are of.
        problem: which samples.
        rows: the number of components.
        keys: [1].
        mixtures: in the frame.
        n: how many.
        stop: the stopping rule, if it is not that of the request.
        n_threads: over how many cores they are shared out, at most.
    """
    wide = jax.tree.map(_widened, jax.device_get(mixtures))

    def some(first: int, last: int) -> Run[Mixture]:
        chosen = Span(start=as_int32(first), n=as_int32(last - first))
        found = _iterated(request, problem, rows, keys, wide, stop, chosen)
        host: Run[Mixture] = jax.device_get(found)
        return jax.tree.map(lambda leaf: leaf[:, first:last], host)

    n_threads = min(n, n_threads)
    if n_threads == 1:
        runs = some(0, n)
        tell(request, problem, rows, runs)
        return runs
    ends = np.linspace(0, n, n_threads + 1).round().astype(int).tolist()
    tasks = [functools.partial(some, *ends[i : i + 2]) for i in range(n_threads)]
    parts = side_by_side(tasks, n_threads)
    joined: Run[Mixture] = jax.tree.map(lambda *leaf: np.concatenate(leaf, axis=1), *parts)
    tell(request, problem, rows, joined)
    return joined


def after_search(runs: Run[Mixture], way: Array) -> Run[Mixture]:
    """Runs with the way [S, R, T] that led up to them in their history."""
    length = runs.history.shape[-1]
    xp = module_of(runs.history)
    way = xp.minimum(way, runs.history[..., :1])  # which another program may round otherwise
    history = xp.concatenate([way, runs.history], axis=-1)
    n_iter = runs.n_iter + runs.n_iter.dtype.type(way.shape[-1])
    return dataclasses.replace(runs, history=history[..., :length], n_iter=n_iter)


def tell(request: Request, problem: Problem, rows: Numbers, runs: Run[Mixture]) -> None:
    """Say how far these runs have come, if anybody listens."""
    who = monitor.listener()
    if who is None:
        return
    # Of few numbers, on the host: for them nothing is compiled but what `in_data_units` takes.
    host: Run[Mixture] = jax.device_get(runs)
    values = host.value.value.ravel()
    best = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
    leader: Mixture = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[best], host.best)
    value = float(problem.in_data_units(leader, values[best]))
    ks = [request.ks[s] for s in rows]
    about = f"k = {ks[0]}" if len(ks) == 1 else f"k = {min(ks)} to {max(ks)}"
    who.hear(about, value, int(host.n_iter.sum()))


def brief_runs(
    request: Request,
    problem: Problem,
    rows: Numbers,
    keys: Array,
    mixtures: Mixture,
    n: int,
    stop: StoppingRule,
    n_threads: int,
) -> tuple[Mixture, Any]:
    """Where runs from the first ``n`` of mixtures [L] end, and their objectives [n]; on the host.

    The arguments are those of `run_batch`.
    """
    batch = jax.tree.map(lambda leaf: leaf[None], mixtures)
    runs = run_batch(request, problem, rows, keys, batch, n, stop, n_threads)
    ends: tuple[Mixture, Any] = jax.tree.map(lambda leaf: leaf[0], (runs.best, runs.value.value))
    return ends


def brief_runs_within(
    problem: Problem, mixtures: Mixture, stages: tuple[Stage, ...], stop: StoppingRule, key: Array
) -> tuple[Mixture, Array]:
    """The same of all mixtures [L], inside of a program."""

    def run(first: Mixture) -> tuple[Mixture, Array]:
        run = run_stages(problem, first, stages, stop, 1, key)
        return run.best, run.value.value

    ends: tuple[Mixture, Array] = over(run, mixtures)
    return ends


def objectives_within(problem: Problem, mixtures: Mixture) -> Array:
    """The objectives of mixtures [L], inside of a program."""
    values: Array = over(lambda mixture: problem.evaluate(mixture).value, mixtures)
    return values


def _iterated(
    request: Request,
    problem: Problem,
    rows: Numbers,
    keys: Array,
    mixtures: Mixture,
    stop: StoppingRule | None,
    chosen: Span | None = None,
) -> Run[Mixture]:
    options = request.options
    return iterated(
        problem.on(problem.samples.once_started),
        mixtures,
        keys,
        prior_of(request, rows),
        request.settings.stop if stop is None else stop,
        options.stages,
        options.capacity,
        request.mesh,
        chosen,
    )


def _widened(leaf: Any) -> Any:
    """An array [1, R, ...] with as many mixtures as the program has."""
    return lengthened(leaf[0], LARGEST_BATCH)[None]


def no_longer(request: Request, tol: float, max_iter: int) -> StoppingRule:
    """The stopping rule of a run that need not be nearer to its optimum than ``tol``."""
    return request.settings.stop.relaxed(tol, as_int32(min(request.max_iter, max_iter)))


def prior_of(request: Request, rows: Numbers) -> Prior | None:
    """The prior of some numbers of components that share one."""
    return request.settings.priors[max(request.ks[s] for s in rows)]
