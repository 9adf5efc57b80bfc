"""A run by one solver after the other, such as an optimizer and then EM."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm.em.problem import Problem
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, Solver, StoppingRule, choose, iterate


@dataclasses.dataclass(frozen=True)
class Stage:
    """A solver, and how many steps it may take; None for what is left."""

    solver: Solver
    n_steps: int | None = None


def run_stages(
    problem: Problem,
    start: Mixture,
    stages: tuple[Stage, ...],
    stop: StoppingRule,
    capacity: int,
    key: Array,
) -> Run[Mixture]:
    """From ``start`` through all stages, each from the best mixture of the one before."""
    run = _stage(problem, start, stages[0], stop, capacity, key)
    for stage in stages[1:]:
        left = stop.relaxed(0, stop.max_iter - run.n_iter)
        run = _joined(run, _stage(problem, run.best, stage, left, capacity, key))
    return run


def _stage(
    problem: Problem, start: Mixture, stage: Stage, stop: StoppingRule, capacity: int, key: Array
) -> Run[Mixture]:
    if stage.n_steps is not None:
        most = jnp.asarray(stage.n_steps, stop.max_iter.dtype)
        stop = stop.relaxed(0, jnp.minimum(most, stop.max_iter))
    run = iterate(problem, stage.solver, start, stop, capacity, key)
    return run if stage.solver.keeps_best else _settled(problem, start, run)


def _settled(problem: Problem, start: Mixture, run: Run[Mixture]) -> Run[Mixture]:
    """The last mixture or the start, whichever all samples say is better.

    Of a solver whose values do not compare; the last entry of the history is then of all samples.
    """
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, run.best)
    values = lax.map(problem.evaluate, both)
    before, after = (jax.tree.map(lambda leaf, i=i: leaf[i], values) for i in (0, 1))
    better = after.above(before) > 0
    return dataclasses.replace(
        run,
        best=choose(better, run.best, start),
        value=choose(better, after, before),
        history=run.history.at[run.n_iter].set(after.value),
    )


def _joined(first: Run[Any], second: Run[Any]) -> Run[Any]:
    """Two runs as one; the history is NaN beyond its end, like all histories."""
    n = first.n_iter
    behind = jnp.arange(len(first.history), dtype=n.dtype) >= n
    history = jnp.where(behind, jnp.roll(second.history, n), first.history)
    return dataclasses.replace(second, history=history, n_iter=n + second.n_iter)
