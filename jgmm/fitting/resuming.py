"""A fit in memory that is kept in a file, so many steps at a time."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jgmm._struct import build
from jgmm.data import monitor
from jgmm.data.devices import over_blocks
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.em.result import FitResult
from jgmm.fitting.batch import each, whole, with_prior
from jgmm.fitting.checkpoint import Checkpoint, about, digest
from jgmm.fitting.choices import Choices
from jgmm.fitting.dispatch import (
    best_fit,
    dispatch,
    finish,
    first_of,
    judged_first,
    judges_first,
    keys_of,
    left,
    n_runs,
    part,
)
from jgmm.fitting.options import Request, as_int32
from jgmm.fitting.running import Numbers, after_search, prior_of, tell
from jgmm.fitting.search import Searched, search
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import RUNNING, Loop, Solver, StoppingRule, begun, ended, stepped

_WORD = 0x9E3779B1  # of Fibonacci hashing, odd


def fit_kept(
    request: Request, choices: Choices, path: str | os.PathLike[str], every: int
) -> FitResult:
    """The best of the fits of one number of components, kept in a file.

    The search is kept where it ends; the steps behind it so many at a time.

    Args:
        request: what was asked for.
        choices: in the caller's words.
        path: of the file.
        every: steps between two writes.
    """
    checkpoint = Checkpoint(path, every)
    judged = judges_first(request)
    going_on = dataclasses.replace(request, keys=request.keys[:1]) if judged else request
    known = about(digest(summed(request.problem)), request.ks[0], choices)
    kept = checkpoint.begin(known, jax.eval_shape(lambda: _nothing(going_on)))
    if kept is None:
        if (who := monitor.listener()) is not None:
            who.expect(n_runs(going_on))
        first, way = (judged_first(request), _no_way(going_on)) if judged else _found(going_on)
        kept = _begun_batch(going_on, first), way
        checkpoint.write(kept)
    loops, way = kept
    while (np.asarray(loops.status) == RUNNING).any():
        loops = _on(going_on, loops, every)
        checkpoint.write((loops, way))
    runs = dataclasses.replace(ended(loops), state=())
    tell(going_on, whole(going_on.problem, going_on.options.cut), (0,), runs)
    if going_on.n_told:
        runs = after_search(runs, way)
    return best_fit(going_on, finish(going_on, (0,), runs))


def _found(request: Request) -> tuple[Mixture, Any]:
    """Where runs on all samples begin [1, R], and the way of a search to there [1, R, T]."""
    if request.options.plan is None:

        def start(rows: Numbers, restarts: Numbers) -> Mixture:
            return first_of(request, rows, keys_of(request, restarts))

        return dispatch(start, request), _no_way(request)

    def look(rows: Numbers, restarts: Numbers) -> Searched:
        return search(request, rows, keys_of(request, restarts))

    found = dispatch(look, request)
    return found.mixtures, found.way


def _no_way(request: Request) -> Any:
    plan = request.options.plan
    n_stages = 0 if plan is None else plan.n_stages
    return np.zeros((1, len(request.keys), n_stages), request.problem.weight.dtype)


def _nothing(request: Request) -> tuple[Loop, Any]:
    """Of the shapes of what is kept."""
    problem, batch = request.problem, (1, len(request.keys))
    k, d, dtype = request.n_components, problem.frame.center.shape[-1], problem.weight.dtype
    shaped = problem.distribution.shaped
    empty = build(
        Mixture,
        weights=np.zeros((*batch, k), dtype),
        means=np.zeros((*batch, k, d), dtype),
        covariances=np.zeros((*batch, *problem.family.shape(k, d)), dtype),
        family=problem.family,
        distribution=problem.distribution,
        degrees_of_freedom=np.zeros((*batch, k), dtype) if shaped else None,
    )
    return _begun_batch(request, empty), _no_way(request)


def _begun_batch(request: Request, mixtures: Mixture) -> Loop:
    return _begun(mixtures, left(request), _solver(request), request.options.capacity)


@program("solver", "capacity", once=True)
def _begun(mixtures: Mixture, stop: StoppingRule, solver: Solver, capacity: int) -> Loop:
    """Runs from mixtures [1, R], before their first steps."""

    def one(mixture: Mixture) -> Loop:
        # EM and SQUAREM begin without the data, and draw nothing.
        return begun(None, solver, mixture, stop, capacity, jax.random.key(0))

    return each(one, mixtures)


def _on(request: Request, loops: Loop, every: int) -> Loop:
    """The runs [1, R] up to the next multiple of ``every`` steps, or to their ends."""
    running = np.asarray(loops.status) == RUNNING
    done = int(np.asarray(loops.n_evaluated)[running].max())
    until = as_int32((done // every + 1) * every)
    problem = whole(request.problem, request.options.cut)

    def advance(rows: Numbers, restarts: Numbers) -> Loop:
        some, prior = part(loops, rows, restarts), prior_of(request, rows)
        stop, solver = left(request), _solver(request)
        return _advanced(problem, some, prior, stop, until, solver, request.mesh)

    return dispatch(advance, request)


def _solver(request: Request) -> Solver:
    (stage,) = request.options.stages
    return stage.solver


@program("solver", "mesh")
def _advanced(
    problem: Problem,
    loops: Loop,
    prior: Prior | None,
    stop: StoppingRule,
    until: Array,
    solver: Solver,
    mesh: Mesh | None,
) -> Loop:
    """Climbs [1, R] until so many points were evaluated; those that ended stay as they are."""

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> Loop:
        loops, prior, stop, until = arguments
        problem = with_prior(problem.on(samples), prior)

        def one(loop: Loop) -> Loop:
            further: Loop = lax.while_loop(
                lambda s: (s.status == RUNNING) & (s.n_evaluated < until),
                lambda s: stepped(problem, solver, stop, s),
                loop,
            )
            return further

        return each(one, loops)

    arguments = (loops, prior, stop, until)
    found: Loop = over_blocks(on_device, problem.samples, mesh, problem.on(None), *arguments)
    return found


@program(once=True)
def summed(tree: Any) -> list[Array]:
    """A checksum of each array of a tree, the same whichever devices they are on."""

    def one(leaf: Array) -> Array:
        bits = leaf
        if leaf.dtype.itemsize < 4:
            floating = jnp.issubdtype(leaf.dtype, jnp.floating)
            bits = leaf.astype(jnp.float32 if floating else jnp.int32)
        words = lax.bitcast_convert_type(bits, jnp.uint32)
        words = (words ^ (words >> 16)) * jnp.uint32(_WORD)
        words = words ^ (words >> 15)
        for axis, length in enumerate(words.shape):
            place = (jnp.arange(length, dtype=jnp.uint32) * jnp.uint32(_WORD + 2 * axis)) | 1
            words = words * lax.broadcast_in_dim(place, words.shape, (axis,))
        return jnp.sum(words, dtype=jnp.uint32)

    return [one(leaf) for leaf in jax.tree.leaves(tree)]
