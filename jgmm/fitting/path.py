"""The path over numbers of components of a sweep: each is tried from the fits of its neighbours.

Upwards components are split, downwards they are merged (Verbeek, Vlassis and Kröse 2003; Ueda,
Nakano, Ghahramani and Hinton 2000). What is found there is taken where it is better, and never is a
likelihood lower than that of fewer components.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jgmm._struct import amend
from jgmm.data.arrays import module_of
from jgmm.data.devices import over_blocks
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.fitting.batch import Cut, over, whole
from jgmm.fitting.moves import grow, lots, shrink
from jgmm.fitting.options import Request
from jgmm.fitting.population import best_of
from jgmm.fitting.running import (
    brief_runs,
    brief_runs_within,
    no_longer,
    objectives_within,
    prior_of,
    run_batch,
)
from jgmm.fitting.search import Searched, after_moves, n_samples, problems, subsample_of
from jgmm.mixture.components import take
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, StoppingRule
from jgmm.solvers.stages import Stage

_TRIED = 8  # mixtures near a neighbour
# Runs a few steps on a subsample from mixtures [L], and says their objectives there [L].
_Runs = Callable[[Mixture], tuple[Mixture, Any]]
_Fits = tuple[Mixture, Array]  # [S], with their objectives over all samples
_Judge = Callable[[Mixture], Any]  # the objectives of mixtures [L] over all samples


def along(request: Request, found: Searched) -> Searched:
    """What searches found [S, R], or what is better near the neighbours of each k."""
    order = _ascending(request)
    if request.sequential:
        return _on_host(request, found, order)
    if not request.one_prior:
        return found
    options = request.options
    mixtures, values = _walked(
        request.problem,
        found.mixtures,
        found.value,
        request.keys[0],
        prior_of(request, range(len(order))),
        after_moves(request),
        options.stages,
        options.cut,
        tuple(order),
        request.ks,
        request.mesh,
    )
    return dataclasses.replace(found, mixtures=mixtures, value=values)


def _on_host(request: Request, found: Searched, order: list[int]) -> Searched:
    """The same by the programs that the fits have anyway."""
    leaves, structure = jax.tree.flatten((found.mixtures, found.value))
    leaves = [np.array(leaf) for leaf in jax.device_get(leaves)]
    floor = np.asarray(request.problem.floor.variances)
    size = n_samples(whole(request.problem, request.options.cut))
    for r in range(len(request.keys)):
        for near, s in _steps(order):
            runs, judge = _on_all_cores(request, s)
            here, _ = jax.tree.unflatten(structure, [leaf[near, r] for leaf in leaves])
            own, value = jax.tree.unflatten(structure, [leaf[s, r] for leaf in leaves])
            with np.errstate(all="ignore"):  # a mixture that is none is judged by its objective
                tried = _neighbours(here, request.ks[near], request.ks[s], floor)
            better = _better(own, value, tried, runs, judge, size)
            for leaf, new in zip(leaves, jax.tree.leaves(better), strict=True):
                leaf[s, r] = new
    mixtures, values = jax.tree.unflatten(structure, leaves)
    return dataclasses.replace(found, mixtures=mixtures, value=values)


def _on_all_cores(request: Request, s: int) -> tuple[_Runs, _Judge]:
    """Runs of one of the numbers of components."""
    every, some = whole(request.problem, request.options.cut), subsample_of(request)

    def run(problem: Problem, stop: StoppingRule, mixtures: Mixture) -> tuple[Mixture, Any]:
        n, n_threads = len(mixtures.weights), request.n_threads
        return brief_runs(request, problem, (s,), request.keys[:1], mixtures, n, stop, n_threads)

    def judge(mixtures: Mixture) -> Any:
        return run(every, no_longer(request, 0, 0), mixtures)[1]

    return functools.partial(run, some, after_moves(request)), judge


def _ascending(request: Request) -> list[int]:
    """Which of the numbers of components is the least, and so on."""
    return sorted(range(len(request.ks)), key=request.ks.__getitem__)


def _steps(order: Sequence[int]) -> list[tuple[int, int]]:
    """From which s to which: up the numbers, and down again."""
    up = list(itertools.pairwise(order))
    return up + [(b, a) for a, b in reversed(up)]


@program("stages", "cut", "order", "ks", "mesh", once=True)
def _walked(
    problem: Problem,
    mixtures: Mixture,
    values: Array,
    key: Array,
    prior: Prior | None,
    brief: StoppingRule,
    stages: tuple[Stage, ...],
    cut: Cut,
    order: tuple[int, ...],
    ks: tuple[int, ...],
    mesh: Mesh | None,
) -> tuple[Mixture, Array]:
    """The same as one program, for traces, and where mixtures go side by side."""
    table = np.array([(a, b, ks[a], ks[b]) for a, b in _steps(order)], np.int32)

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> tuple[Mixture, Array]:
        mixtures, values, key, prior, brief = arguments
        every, some = problems(problem, samples, cut, prior)
        floor, size = problem.floor.variances, n_samples(every)

        def runs(mixtures: Mixture) -> tuple[Mixture, Array]:
            return brief_runs_within(some, mixtures, stages, brief, key)

        judge = functools.partial(objectives_within, every)

        def step(fits: _Fits, numbers: Array) -> tuple[_Fits, None]:
            near, s, n, k = numbers
            here = jax.tree.map(lambda leaf: leaf[near], fits[0])
            own, value = jax.tree.map(lambda leaf: leaf[s], fits)
            tried = _neighbours(here, n, k, floor)
            better = _better(own, value, tried, runs, judge, size)
            return jax.tree.map(lambda leaf, new: leaf.at[s].set(new), fits, better), None

        def walk(fits: _Fits) -> _Fits:
            walked, _ = lax.scan(step, fits, jnp.asarray(table))
            return walked

        by_restart = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (mixtures, values))
        walked: _Fits = over(walk, by_restart)
        return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), walked)

    arguments = (mixtures, values, key, prior, brief)
    found: _Fits = over_blocks(on_device, problem.samples, mesh, problem.on(None), *arguments)
    return found


def _neighbours(mixture: Mixture, n: Any, k: Any, floor: Any) -> Mixture:
    """Mixtures of k components near one of n."""
    table = lots(1, _TRIED)[0]
    if module_of(mixture.means) is np:
        found = []
        for lot in table:
            near = mixture
            for free in range(n, k):
                near = grow(near, free, floor, _other(lot[:2], free - n))
            for i in range(n - k):
                near = shrink(near, n - 1 - i, floor, _other(lot[0], i))
            found.append(near)
        stacked: Mixture = jax.tree.map(lambda *leaf: np.stack(leaf), *found)
        return stacked

    def one(lot: Array) -> Mixture:
        def grown(free: Array, near: Mixture) -> Mixture:
            return grow(near, free, floor, _other(lot[:2], free - n))

        def shrunk(i: Array, near: Mixture) -> Mixture:
            return shrink(near, n - 1 - i, floor, _other(lot[0], i))

        near: Mixture = lax.fori_loop(n, k, grown, mixture)
        fewer: Mixture = lax.fori_loop(0, n - k, shrunk, near)
        return fewer

    tried: Mixture = jax.vmap(one)(jnp.asarray(table, mixture.means.dtype))
    return tried


def _other(lot: Any, i: Any) -> Any:
    """For the i-th of several moves another lot."""
    return (lot + 0.618034 * module_of(lot).asarray(i, lot.dtype)) % 1


def _better(
    own: Mixture, value: Any, tried: Mixture, runs: _Runs, judge: _Judge, size: Any
) -> tuple[Mixture, Any]:
    """A mixture or the best of those tried, whichever all samples say is better; its objective."""
    xp = module_of(own.means)
    best, values = runs(tried)
    top = best_of(best, values, size)
    both: Mixture = jax.tree.map(lambda a, b: xp.stack([a, b[top]]), own, best)
    values = xp.concatenate([value[None], judge(jax.tree.map(lambda leaf: leaf[1:], both))])
    taken = best_of(both, values, size)
    return jax.tree.map(lambda leaf: leaf[taken], both), values[taken]


def never_falling(request: Request, runs: Run[Mixture]) -> Run[Mixture]:
    """Runs [S, R], none of lower objective than one of fewer components.

    Where one is, a component of the other is cut into equal parts, which leaves its likelihood as
    it is; no step leads away from there, so that on the host runs from components cut into
    different parts are taken, if they end no lower. Under a prior objectives of different numbers
    of components do not compare.
    """
    if any(prior is not None for prior in request.settings.priors.values()):
        return runs
    order = _ascending(request)
    xp = module_of(runs.value.value)
    for a, b in itertools.pairwise(order):
        fewer, more = (jax.tree.map(lambda leaf, i=i: leaf[i], runs) for i in (a, b))
        lower = ~(more.value.value >= fewer.value.value) & xp.isfinite(fewer.value.value)
        if xp is np and not lower.any():
            continue
        instead = []
        for r in range(len(lower)):
            one: Run[Mixture] = jax.tree.map(lambda leaf, r=r: leaf[r], fewer)
            found = _parted(request, a, b, one) if xp is np and lower[r] else None
            equal = _cut_up(one.best, request.ks[a], request.ks[b])
            instead.append(dataclasses.replace(one, best=equal) if found is None else found)
        fewer = jax.tree.map(lambda *leaf: xp.stack(leaf), *instead)

        def put(every: Any, new: Any, old: Any, lower: Any = lower, b: int = b) -> Any:
            chosen = xp.where(lower.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            return xp.stack([chosen if s == b else every[s] for s in range(len(every))])

        runs = jax.tree.map(put, runs, fewer, more)
    return runs


def _parted(request: Request, a: int, b: int, fewer: Run[Mixture]) -> Run[Mixture] | None:
    """The best run on all samples from splits of another's end; None where it ends lower."""
    problem = whole(request.problem, request.options.cut)
    floor = np.asarray(request.problem.floor.variances)
    with np.errstate(all="ignore"):
        tried = _neighbours(fewer.best, request.ks[a], request.ks[b], floor)
    where = request, problem, (b,), request.keys[:1]
    ends, values = brief_runs(*where, tried, _TRIED, after_moves(request), request.n_threads)
    first = best_of(ends, values, n_samples(problem))
    runs = run_batch(*where, jax.tree.map(lambda leaf: leaf[None, first, None], ends), 1)
    found: Run[Mixture] = jax.tree.map(lambda leaf: leaf[0, 0], runs)
    return found if found.value.value >= fewer.value.value else None


def _cut_up(mixture: Mixture, n: int, k: int) -> Mixture:
    """A mixture of n components as one of k: the largest in equal parts."""
    xp, index = module_of(mixture.means), np.arange(mixture.means.shape[0], dtype=np.int32)
    largest = xp.argmax(mixture.weights).astype(np.int32)
    added = (index >= n) & (index < k)
    part = mixture.weights[largest] / (k - n + 1)
    source = xp.where(added, largest, index)
    weights = xp.where(added | (index == largest), part, mixture.weights)
    return amend(take(mixture, source), weights=weights)
