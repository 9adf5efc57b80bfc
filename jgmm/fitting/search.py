"""The search for a better optimum than one start leads to.

Short runs on few samples from several starts; then rounds of moves from the best of those that
differ, each followed by a few steps; and at last all samples say which is the best. What makes it
cheap is that the samples are few, and what makes it fair that they are drawn by weight.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.arrays import module_of
from jgmm.data.devices import over_blocks
from jgmm.data.fold import fold_sum
from jgmm.data.programs import program
from jgmm.data.samples import Block, Layout, Samples, Span
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.fitting import starts
from jgmm.fitting.batch import Cut, each, few, over, started, whole, with_prior
from jgmm.fitting.moves import lots
from jgmm.fitting.options import Request
from jgmm.fitting.population import Plan, best_of, descendants, survivors, worth
from jgmm.fitting.running import (
    Numbers,
    brief_runs,
    brief_runs_within,
    no_longer,
    objectives_within,
    prior_of,
)
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import StoppingRule, choose
from jgmm.solvers.stages import Stage


@struct
class Searched:
    """What a search found, in the frame [S, R]."""

    mixtures: Mixture  # where runs on all samples best begin
    way: Array  # [S, R, T]: for all samples, the best objective after each of its stages
    value: Array  # [S, R], their objective over all samples


def after_moves(request: Request) -> StoppingRule:
    """When a run after a move stops."""
    assert request.options.plan is not None
    return no_longer(request, *request.options.plan.after_moves)


def subsample_of(request: Request) -> Problem:
    """The problem that is searched: of a subsample, or of all samples."""
    cut = request.options.cut
    return (whole if cut.few is None else few)(request.problem, cut)


def problems(
    problem: Problem, samples: Samples, cut: Cut, prior: Prior | None
) -> tuple[Problem, Problem]:
    """The problem of all samples, and that which is searched, inside of a program."""
    every = with_prior(whole(problem.on(samples), cut), prior)
    if cut.few is None:
        return every, every
    some = with_prior(few(problem.on(samples), cut), prior)
    layout = Layout(length=cut.few, axis=samples.layout.axis)
    return every, some.on(dataclasses.replace(some.samples, layout=layout))


def search(request: Request, rows: Numbers, keys: Array) -> Searched:
    """Where runs on all samples best begin; see `jgmm.fitting.population.Plan`."""
    if request.sequential:
        return _on_host(request, rows, keys)
    options, plan = request.options, request.options.plan
    assert plan is not None
    return searched(
        request.problem,
        request.used(rows),
        np.array([plan.rounds_for(request.ks[s]) for s in rows], np.int32),
        keys,
        prior_of(request, rows),
        no_longer(request, *plan.from_starts),
        after_moves(request),
        options.start,
        options.stages,
        options.cut,
        plan,
        request.mesh,
    )


def _on_host(request: Request, rows: Numbers, keys: Array) -> Searched:
    """One search, by the programs that the fit has anyway."""
    options, plan = request.options, request.options.plan
    assert plan is not None
    every = whole(request.problem, options.cut)
    some = subsample_of(request)
    floor, size = np.asarray(request.problem.floor.variances), n_samples(every)

    def run(mixtures: Mixture, n: int, stop: StoppingRule, problem: Problem) -> tuple[Mixture, Any]:
        n_threads = request.n_threads if request.n_fits == 1 else 1
        return brief_runs(request, problem, rows, keys, mixtures, n, stop, n_threads)

    def survivors_of(mixtures: Mixture, n: int, stop: StoppingRule) -> tuple[Mixture, Any]:
        best, values = run(mixtures, n, stop, some)
        return survivors(best, worth(best, values, size), plan.n_parents)

    first: Mixture = jax.device_get(
        started(
            some,
            request.used(rows),
            keys,
            None,
            prior_of(request, rows),
            options.start,
            options.cut.few,
            request.mesh,
            plan.n_starts,
        )
    )
    first = jax.tree.map(lambda leaf: leaf[0], first)
    parents, n = survivors_of(first, plan.n_starts, no_longer(request, *plan.from_starts))
    told = [_leader(first), _leader(parents)]
    n_rounds = plan.rounds_for(max(request.ks[s] for s in rows))
    for lot in lots(n_rounds, plan.batch):
        tried = descendants(parents, int(n), lot, floor)
        parents, n = survivors_of(tried, plan.batch, after_moves(request))
        told.append(_leader(parents))
    told += [told[-1]] * (plan.n_rounds - n_rounds)
    told.append(jax.tree.map(lambda leaf: leaf[1:n], parents))
    judged: Mixture = jax.tree.map(lambda *leaf: np.concatenate(leaf), *told)
    _, values = run(judged, len(judged.weights), no_longer(request, 0, 0), every)
    found = _chosen(judged, values, size, plan)
    return jax.tree.map(lambda leaf: leaf[None, None], found)


def _leader(mixtures: Mixture) -> Mixture:
    first: Mixture = jax.tree.map(lambda leaf: leaf[:1], mixtures)
    return first


def _chosen(mixtures: Mixture, values: Any, size: Any, plan: Plan) -> Searched:
    """The best of mixtures by their objectives over all samples, those of the stages first."""
    xp = module_of(values)
    best = best_of(mixtures, values, size)
    way = xp.maximum.accumulate(values[: plan.n_stages])
    return Searched(
        mixtures=jax.tree.map(lambda leaf: leaf[best], mixtures),
        way=xp.minimum(way, values[best]),  # what was not taken was no better
        value=values[best],
    )


@program("kind", "stages", "cut", "plan", "mesh", once=True)
def searched(
    problem: Problem,
    used: Array,
    n_rounds: Any,
    keys: Array,
    prior: Prior | None,
    brief: StoppingRule,
    briefer: StoppingRule,
    kind: str,
    stages: tuple[Stage, ...],
    cut: Cut,
    plan: Plan,
    mesh: Mesh | None,
) -> Searched:
    """The same as one program, for fits [S, R]: for traces, and where mixtures go side by side."""

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> Searched:
        used, n_rounds, keys, prior, brief, briefer = arguments
        every, some = problems(problem, samples, cut, prior)
        floor, size = problem.floor.variances, n_samples(every)

        def one(used: Array, n_rounds: Array, key: Array) -> Searched:
            def survivors_of(mixtures: Mixture, stop: StoppingRule) -> tuple[Mixture, Array]:
                best, values = brief_runs_within(some, mixtures, stages, stop, key)
                return survivors(best, worth(best, values, size), plan.n_parents)

            def start(key: Array) -> Mixture:
                return starts.by_name(some, used, key, kind)

            first = over(start, jax.random.split(key, plan.n_starts))

            def moved(
                state: tuple[Mixture, Array], round: tuple[Array, Array]
            ) -> tuple[tuple[Mixture, Array], Mixture]:
                number, lot = round
                moved = survivors_of(descendants(*state, lot, floor), briefer)
                state = choose(number < n_rounds, moved, state)
                return state, jax.tree.map(lambda leaf: leaf[0], state[0])

            state = survivors_of(first, brief)
            told = [_leader(first), _leader(state[0])]
            table = jnp.asarray(lots(plan.n_rounds, plan.batch))
            rounds = jnp.arange(plan.n_rounds, dtype=jnp.int32), table
            state, leaders = lax.scan(moved, state, rounds)
            told += [leaders, jax.tree.map(lambda leaf: leaf[1:], state[0])]
            judged: Mixture = jax.tree.map(lambda *leaf: jnp.concatenate(leaf), *told)
            values = objectives_within(every, judged)
            return _chosen(judged, values, size, plan)

        shape = len(used), len(keys)
        wide = jnp.broadcast_to(used[:, None], (*shape, used.shape[1]))
        rounds = jnp.broadcast_to(n_rounds[:, None], shape)
        return each(one, wide, rounds, jnp.broadcast_to(keys, shape))

    arguments = (used, n_rounds, keys, prior, brief, briefer)
    found: Searched = over_blocks(on_device, problem.samples, mesh, problem.on(None), *arguments)
    return found


def n_samples(problem: Problem) -> Any:
    """How many samples have any weight; those that only fill up blocks have none."""
    samples = problem.samples
    if _checks.all_concrete(samples) and not _checks.in_program():
        weights, span = samples.weights, samples.visited
        if not weights.is_fully_addressable:  # of several processes, each with many
            layout = samples.layout
            return layout.length * (1 if layout.axis is None else layout.axis.size)
        rows, size = np.asarray(weights).ravel(), samples.block_size
        if isinstance(span, Span):
            shares = np.split(rows, span.n.size)
            spans = zip(shares, np.ravel(span.start), np.ravel(span.n), strict=True)
            rows = np.concatenate([share[i * size : i * size + n] for share, i, n in spans])
        return max(int(np.count_nonzero(rows)), 1)

    def visit(block: Block) -> Array:
        return jnp.sum(block.weights > 0, dtype=block.weights.dtype)

    return jnp.maximum(fold_sum(visit, samples).rounded(), 1)
