"""The order in which the fits of a request are run: side by side, or in turn on each core."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm import _checks
from jgmm.data import monitor
from jgmm.data.arrays import module_of
from jgmm.data.interruptible import side_by_side
from jgmm.em.result import FitResult, of_components
from jgmm.fitting.batch import few, finished, started, whole
from jgmm.fitting.crossing import run_behind
from jgmm.fitting.options import Request
from jgmm.fitting.path import along, never_falling
from jgmm.fitting.running import Numbers, after_search, no_longer, prior_of, run
from jgmm.fitting.search import Searched, search
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, StoppingRule

T = TypeVar("T")

# Results of some numbers of components and some restarts, with leading axes [S, R].
Fits = Callable[[Numbers, Numbers], T]
Report = Callable[[int, int, float], None]
# When a run on a subsample stops: it need not be nearer to its optimum than that is to the one of
# all samples.
_SHORT = 1e-5, 200  # its tolerance, and steps at most


def fit_all(request: Request, report: Report = lambda s, r, seconds: None) -> FitResult:
    """The fits of all numbers of components from all starts, with leading axes [S, R].

    Args:
        request: what to fit.
        report: called with s, r and seconds after each fit, in any order.
    """
    if (who := monitor.listener()) is not None:
        who.expect(n_runs(request))
    if not request.path:

        def fit(rows: Numbers, restarts: Numbers) -> FitResult:
            return finish(request, rows, _fit(request, rows, restarts))

        return dispatch(fit, request, report)

    seconds: dict[tuple[int, int], float] = {}

    def remember(s: int, r: int, more: float) -> None:
        seconds[s, r] = more

    def report_all(s: int, r: int, more: float) -> None:
        report(s, r, seconds.get((s, r), 0) + more)

    if request.options.plan is None:
        runs = dispatch(functools.partial(_fit, request), request, report)
    else:

        def look(rows: Numbers, restarts: Numbers) -> Searched:
            return search(request, rows, keys_of(request, restarts))

        found = along(request, dispatch(look, request, remember))

        def go_on(rows: Numbers, restarts: Numbers) -> Run[Mixture]:
            return _from_found(request, rows, restarts, part(found, rows, restarts))

        runs = dispatch(go_on, request, report_all)
    if request.sequential:
        runs = jax.device_get(runs)  # where nothing is compiled
    runs = never_falling(request, runs)

    def conclude(rows: Numbers, restarts: Numbers) -> FitResult:
        return finish(request, rows, part(runs, rows, restarts))

    return dispatch(conclude, request)


def fit_best(request: Request) -> FitResult:
    """The best of the fits of one number of components.

    Where runs on a subsample come first without a search, only the best of them goes on.
    """
    if not judges_first(request):
        return best_fit(request, fit_all(request))
    first = judged_first(request)
    request = dataclasses.replace(request, keys=request.keys[:1])
    problem, rows = whole(request.problem, request.options.cut), (0,)
    last = run(request, problem, rows, request.keys, first)
    return best_fit(request, finish(request, rows, last))


def judges_first(request: Request) -> bool:
    """Whether runs on a subsample say which of several starts goes on."""
    options = request.options
    return options.cut.few is not None and options.plan is None and len(request.keys) > 1


def judged_first(request: Request) -> Mixture:
    """The best of the ends of runs on a subsample [1, 1], as all samples see it."""
    problem = whole(request.problem, request.options.cut)
    if (who := monitor.listener()) is not None:
        who.expect(2 * request.n_fits + 1)

    def judge(rows: Numbers, restarts: Numbers) -> Run[Mixture]:
        keys = keys_of(request, restarts)
        first = first_of(request, rows, keys)
        return run(request, problem, rows, keys, first, no_longer(request, 0, 0))

    judged = dispatch(judge, request)
    xp = module_of(judged.value.value)
    value = judged.value.value[0]
    highest = xp.argmax(xp.where(xp.isfinite(value), value, -xp.inf))
    mixture: Mixture = jax.tree.map(lambda leaf: leaf[:, highest][:, None], judged.best)
    return mixture


def n_runs(request: Request) -> int:
    """How many programs of runs the fits of a request are, for those who watch them."""
    n_fits, plan = request.n_fits, request.options.plan
    if not request.sequential:
        return 1 if request.one_prior else len(request.ks)
    if plan is None:
        return n_fits if request.options.cut.few is None else 2 * n_fits
    # From starts, in rounds, judged, and then on all samples; and near the neighbours of each k.
    rounds = sum(plan.rounds_for(k) + 3 for k in request.ks) * len(request.keys)
    return rounds + (4 * (len(request.ks) - 1) * len(request.keys) if request.path else 0)


def _fit(request: Request, rows: Numbers, restarts: Numbers) -> Run[Mixture]:
    """Runs on all samples, after a search or not."""
    keys = keys_of(request, restarts)
    if request.options.plan is not None:
        return _from_found(request, rows, restarts, search(request, rows, keys))
    problem = whole(request.problem, request.options.cut)
    return run(request, problem, rows, keys, first_of(request, rows, keys))


def _from_found(
    request: Request, rows: Numbers, restarts: Numbers, found: Searched
) -> Run[Mixture]:
    """Runs on all samples, and how a search led up to them."""
    keys = keys_of(request, restarts)
    runs = run_behind(request, rows, keys, found.mixtures, left(request))
    return after_search(runs, found.way) if request.n_told else runs


def left(request: Request) -> StoppingRule:
    """The stopping rule of runs behind a search."""
    return no_longer(request, 0, request.max_iter - request.n_told)


def first_of(request: Request, rows: Numbers, keys: Array) -> Mixture:
    """Where runs on all samples start without a search: after a run on a subsample, or not."""
    options = request.options
    short = options.cut.few is not None
    problem = (few if short else whole)(request.problem, options.cut)
    mixtures = started(
        problem,
        request.used(rows),
        keys,
        request.settings.init,
        prior_of(request, rows),
        options.start,
        options.cut.few,
        request.mesh,
    )
    if not short:
        return mixtures
    return run(request, problem, rows, keys, mixtures, no_longer(request, *_SHORT)).best


def finish(request: Request, rows: Numbers, runs: Run[Mixture]) -> FitResult:
    """The results of runs [S, R], without padding."""
    used = request.used(rows)
    problem = whole(request.problem, request.options.cut)
    problem = problem.on(problem.samples.once_started)
    results = finished(problem, runs, used, prior_of(request, rows), request.mesh)
    if request.n_components == max(request.ks):
        return results
    # The padding is taken off on the host; padded fits are run one by one.
    host: FitResult = jax.device_get(results)
    alone = of_components(jax.tree.map(lambda leaf: leaf[0, 0], host), slice(max(request.ks)))
    return jax.tree.map(lambda leaf: leaf[None, None], alone)


def keys_of(request: Request, restarts: Numbers) -> Array:
    """The keys of all restarts, or of one."""
    return request.keys if len(restarts) == len(request.keys) else request.keys[restarts[0], None]


def part(tree: T, rows: Numbers, restarts: Numbers) -> T:
    """Of arrays [S, R] all, or one; on the host, where nothing is compiled for it."""
    if len(rows) > 1 or len(restarts) > 1:
        return tree
    (s,), (r,) = rows, restarts
    one: T = jax.tree.map(lambda leaf: leaf[s : s + 1, r : r + 1], jax.device_get(tree))
    return one


def dispatch(fits: Fits[T], request: Request, report: Report = lambda s, r, seconds: None) -> T:
    """Results [S, R] of ``fits(rows, restarts)``, in the order that is fastest where it runs."""
    shape = len(request.ks), len(request.keys)
    if shape == (1, 1) or not request.sequential:
        return _side_by_side(fits, request, report)
    return _in_turn(fits, request, report)


def _side_by_side(fits: Fits[T], request: Request, report: Report) -> T:
    """All fits as one vmap."""
    start = time.perf_counter()
    rows, restarts = range(len(request.ks)), range(len(request.keys))
    if request.one_prior or len(rows) == 1:
        found = fits(rows, restarts)
    else:
        parts = [fits((s,), restarts) for s in rows]
        found = jax.tree.map(lambda *leaf: jnp.concatenate(leaf), *parts)
    if _checks.all_concrete(found):
        jax.block_until_ready(found)
        for s, r in itertools.product(rows, restarts):
            report(s, r, time.perf_counter() - start)
    return found


def _in_turn(fits: Fits[T], request: Request, report: Report) -> T:
    """The same, one fit after the other on each core."""
    # Those of most components, which are the longest, go first, but for one of the shortest.
    order = np.argsort([-k for k in request.ks], kind="stable").tolist()
    order = [order[-1], *order[:-1]]
    n_keys = len(request.keys)
    turns = list(itertools.product(order, range(n_keys)))

    def take(turn: tuple[int, int]) -> T:
        start = time.perf_counter()
        s, r = turn
        fit: T = jax.device_get(fits((s,), (r,)))
        report(s, r, time.perf_counter() - start)
        return fit

    # One fit alone, so that the threads find the program compiled.
    done = {turns[0]: take(turns[0])}
    rest = [functools.partial(take, turn) for turn in turns[1:]]
    done.update(zip(turns[1:], side_by_side(rest, request.n_threads), strict=True))
    rows = [[done[s, r] for r in range(n_keys)] for s in range(len(order))]
    # On the host: to join arrays on the device, each shape would be compiled for.
    joined = [jax.tree.map(lambda *leaf: np.concatenate(leaf, axis=1), *row) for row in rows]
    return jax.tree.map(lambda *leaf: _checks.as_array(np.concatenate(leaf)), *joined)


def best_fit(request: Request, results: FitResult) -> FitResult:
    """Of results [1, R] that of the highest objective."""
    concrete = _checks.all_concrete(results)
    if concrete:
        results = jax.device_get(results)  # where nothing is compiled
    best = best_restart(jax.tree.map(lambda leaf: leaf[0], results), request.max_iter)
    return jax.device_put(best) if concrete else best


def best_restart(results: FitResult, max_iter: int) -> FitResult:
    """Of results [R] that of the highest objective, its history cut to ``max_iter`` + 1."""
    xp = module_of(results.objective)
    score = xp.where(xp.isfinite(results.objective), results.objective, -xp.inf)
    best: FitResult = jax.tree.map(lambda leaf: leaf[xp.argmax(score)], results)
    return dataclasses.replace(best, history=best.history[: max_iter + 1])
