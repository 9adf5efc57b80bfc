"""Stepwise EM (Cappé and Moulines 2009): an M-step after every chunk, for one pass or few."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._status import Status
from jgmm.data import monitor
from jgmm.data.frame import standardize
from jgmm.data.programs import program
from jgmm.data.samples import block_size
from jgmm.data.streams.chunks import chunk_length
from jgmm.data.streams.feed import Feed, samples_of
from jgmm.em.maximisation import maximisation
from jgmm.em.moments import Moments, blended, implied, moments_of, stats_under
from jgmm.em.passes import pass_over
from jgmm.em.problem import Problem
from jgmm.em.result import FitResult
from jgmm.em.statistics import Elsewhere, concluded, expectation
from jgmm.fitting.options import as_int32, delivered
from jgmm.fitting.streams.exact import finished, problem_of, seen_of, start_of
from jgmm.fitting.streams.wishes import Wishes
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run

_POWER, _DELAY = 0.7, 2.0  # of the t-th chunk from 0 on, the share is (t + delay) ** -power


def fitted(wishes: Wishes, path: str | os.PathLike[str] | None, every: int) -> FitResult:
    """The fit that was asked for, by so many passes; there are no checkpoints."""
    assert wishes.passes is not None
    choices, incomplete = wishes.choices, wishes.incomplete
    seen = seen_of(wishes)
    problem = problem_of(wishes, seen)
    size = block_size(wishes.k, seen.n_features, seen.dtype)
    length = chunk_length(seen.n_features) if wishes.chunk is None else wishes.chunk
    whole: Any = np.asarray(seen.weight / seen.n * length, seen.dtype)  # of a chunk that is full
    mixture, moments = _begun(problem, start_of(wishes, seen))
    history, t = [], 0
    who = monitor.listener()
    if who is not None:
        who.expect(wishes.passes)
    for _ in range(wishes.passes):
        total = 0.0
        for feed in seen.feeds():
            share: Any = np.asarray((t + _DELAY) ** -_POWER, seen.dtype)
            mixture, moments, value = _stepped(
                problem, mixture, moments, feed, share, whole, size, incomplete
            )
            total += float(value)  # waits, so that no more than one chunk is under way
            t += 1
        history.append(total / seen.weight)
        if who is not None:
            who.hear(f"k = {wishes.k}, passes", math.nan, 1)
    sums = pass_over(seen.feeds(), mixture, problem.frame, size, incomplete)
    way: Any = np.asarray([*history, np.nan], seen.dtype)
    last = _judged(problem, mixture, sums, way, incomplete)
    n: Any = np.asarray(wishes.passes, np.int32)
    change = abs(float(last.history[-1]) - history[-1])
    settled = change < float(np.max(np.asarray(choices.tol)))
    status = Status.CONVERGED if settled else Status.MAX_ITER
    if not np.isfinite(change):
        status = Status.DEGENERATE if np.isfinite(history[0]) else Status.NONFINITE
    run = dataclasses.replace(last, n_iter=n, status=as_int32(status))
    return delivered(finished(problem, run), seen.origin, in_order=choices.order is not None)


@program(once=True)
def _begun(problem: Problem[Elsewhere], start: Mixture) -> tuple[Mixture, Moments]:
    inside = problem.standardize(start)
    return inside, implied(inside, jnp.ones((), inside.means.dtype))


@program("size", "incomplete")
def _stepped(
    problem: Problem[Elsewhere],
    mixture: Mixture,
    moments: Moments,
    feed: Feed,
    share: Array,
    whole: Array,
    size: int,
    incomplete: bool,
) -> tuple[Mixture, Moments, Array]:
    """The mixture and the moments, whose counts sum to one, after a chunk; and its objective."""
    samples = samples_of(feed, mixture.means.dtype, size, incomplete)
    samples = standardize(samples, problem.frame)
    stats, log_likelihood = expectation(mixture, samples)
    mass = jnp.sum(stats.counts)
    share = 1 - (1 - share) ** (mass / whole)  # a chunk that weighs half is half a step
    new = moments_of(mixture, stats)
    new = dataclasses.replace(new, counts=share * new.counts / jnp.where(mass > 0, mass, 1))
    moments = blended(moments, new, 1 - share, mixture.family)
    counted = dataclasses.replace(moments, counts=problem.weight * moments.counts)
    stats = stats_under(mixture, counted)
    following = maximisation(mixture, stats, problem.family, problem.floor)
    value = jnp.where(mass > 0, log_likelihood.rounded() * mass, 0)
    return following, moments, value


@program("incomplete", once=True)
def _judged(
    problem: Problem[Elsewhere], mixture: Mixture, sums: Any, history: Array, incomplete: bool
) -> Run[Mixture]:
    """The run to a mixture that all samples were asked about."""
    told = concluded(mixture, mixture.kernel(gaps=incomplete), sums)
    value = problem.on(told).evaluate(mixture)
    zero = jnp.zeros((), jnp.int32)
    return Run(
        best=mixture,
        value=value,
        history=history.at[-1].set(value.value),
        n_iter=zero,
        status=zero,
        state=(),
    )
