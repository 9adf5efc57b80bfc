"""The fit of a stream: a first pass, a start from a sample of it, and a pass for every step."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm import _checks
from jgmm._struct import build
from jgmm.data import monitor
from jgmm.data.origin import less, near_origin, plus
from jgmm.data.programs import program
from jgmm.data.streams.chunks import Allowed
from jgmm.em import prior as priors
from jgmm.em.passes import pass_over
from jgmm.em.prior import Prior, weak_prior
from jgmm.em.problem import Problem
from jgmm.em.result import FitResult
from jgmm.em.statistics import Elsewhere
from jgmm.families.distributions import chosen
from jgmm.families.floor import Floor
from jgmm.fitting.batch import result_of
from jgmm.fitting.checkpoint import Checkpoint, about, digest
from jgmm.fitting.delivery import fit_one
from jgmm.fitting.given import of_mixture
from jgmm.fitting.given import read as read_init
from jgmm.fitting.options import delivered, floor_of, history_capacity, stop_of
from jgmm.fitting.progress import left_of
from jgmm.fitting.streams.survey import Survey, survey
from jgmm.fitting.streams.wishes import Wishes
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.em import Em
from jgmm.solvers.iterate import RUNNING, Foretelling, Loop, Run, begun, ended
from jgmm.solvers.passes import run
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stopping import Gain


def fitted(wishes: Wishes, path: str | os.PathLike[str] | None, every: int) -> FitResult:
    """The fit that was asked for, kept in a file at ``path`` after ``every`` so many steps."""
    choices = wishes.choices
    checkpoint = None if path is None else Checkpoint(path, every)
    seen = seen_of(wishes)
    problem = problem_of(wishes, seen)
    stop = stop_of(choices.tol, choices.max_iter, seen.dtype)
    solver: Foretelling = Squarem() if choices.accelerate else Em()
    capacity = history_capacity(choices.max_iter)
    loop = None
    if checkpoint is not None:
        like = jax.eval_shape(
            lambda problem, mixture, stop: _begin(problem, mixture, stop, solver, capacity),
            problem,
            _empty(wishes, seen),
            stop,
        )
        loop = checkpoint.begin(_about(wishes, seen), like)
    if loop is None:
        start = start_of(wishes, seen)
        loop = _begun(problem, start, stop, solver, capacity)
    size = wishes.family.block_size(wishes.k, seen.n_features, seen.dtype)

    def after(loop: Loop) -> None:
        due = int(loop.n_evaluated) % every == 0 or int(loop.status) != RUNNING
        if checkpoint is not None and due:
            checkpoint.write(loop)
        _tell(wishes, problem, loop)

    loop = run(
        problem,
        solver,
        stop,
        loop,
        lambda mixture: pass_over(seen.feeds(), mixture, problem.frame, size, wishes.incomplete),
        after,
        incomplete=wishes.incomplete,
    )
    result = finished(problem, ended(loop))
    result = dataclasses.replace(result, history=result.history[: choices.max_iter + 1])
    return delivered(result, seen.origin, in_order=choices.order is not None)


def _about(wishes: Wishes, seen: Survey) -> dict[str, Any]:
    """What a run depends on."""
    frame = digest((seen.frame, seen.origin))
    data = [seen.n, seen.n_features, seen.dtype.name, seen.weight, seen.checksum, frame]
    return {**about(data, wishes.k, wishes.choices), "chunk": wishes.chunk}


def _tell(wishes: Wishes, problem: Problem[Elsewhere], loop: Loop) -> None:
    """Say how far the run has come, if anybody listens."""
    if (who := monitor.listener()) is None:
        return
    value = float(problem.in_data_units(loop.best, loop.value.value))
    tol, most = float(np.max(np.asarray(wishes.choices.tol))), wishes.choices.max_iter
    n, going_on = int(loop.n_evaluated) - 1, int(loop.status) == RUNNING
    left = left_of(loop.history, tol, max(most - n, 0)) if going_on else 0
    who.hear(f"k = {wishes.k}, passes", value, min(n, 1), left)


def seen_of(wishes: Wishes) -> Survey:
    """What a first pass says of the source."""
    who = monitor.listener()
    if who is not None:
        who.expect(1)
    seed = np.asarray(jax.random.key_data(wishes.key)).ravel().tolist()
    seen = survey(
        wishes.source,
        wishes.chunk,
        (lambda d: 0) if wishes.n_sampled == 0 else wishes.enough,
        seed,
        isotropic=wishes.family.isotropic,
        countable=wishes.passes is None,
        allowed=Allowed(missing=wishes.incomplete, k=wishes.k),
    )
    if seen.labelled and wishes.choices.order is not None:
        raise ValueError("order: expected None with labels, which number the components")
    if who is not None:
        who.hear("first pass", math.nan, 0)
    return seen


def problem_of(wishes: Wishes, seen: Survey) -> Problem[Elsewhere]:
    """The problem, but for its samples."""
    choices = wishes.choices
    weight: Any = np.asarray(seen.weight, seen.dtype)
    _, dof = chosen(choices.distribution, choices.degrees_of_freedom, seen.dtype)
    return Problem(
        samples=Elsewhere(shares=seen.shares),
        weight=weight,
        frame=seen.frame,
        floor=Floor(variances=floor_of(choices.reg_covar, seen.n_features, seen.dtype)),
        prior=_prior_of(wishes, seen),
        family=wishes.family,
        distribution=wishes.distribution,
        degrees_of_freedom=dof,
    )


def _prior_of(wishes: Wishes, seen: Survey) -> Prior | None:
    """The prior in the frame."""
    prior = wishes.choices.prior
    if prior is None:
        return None
    if isinstance(prior, str):
        assert seen.sample is not None
        features, mass, _ = seen.sample
        array, origin = near_origin(features, missing=wishes.incomplete)
        prior = weak_prior(array, wishes.k, mass, missing=wishes.choices.missing)
        if origin is not None:
            prior = dataclasses.replace(prior, mean=plus(prior.mean, origin))
    mean = less(np.asarray(prior.mean), seen.origin)
    prior = dataclasses.replace(prior, mean=mean)
    prior = jax.tree.map(lambda leaf: _checks.as_array(leaf, seen.dtype), prior)
    return priors.standardize(prior, seen.frame)


def start_of(wishes: Wishes, seen: Survey) -> Mixture:
    """The mixture to start from, as seen from the origin."""
    start = wishes.init
    if not wishes.given:
        assert seen.sample is not None
        features, mass, labels = seen.sample
        sampled = dataclasses.replace(wishes.choices, weights=mass, labels=labels, order=None)
        start = jax.device_get(fit_one(features, wishes.k, sampled).mixture)
    given = read_init(
        start,
        wishes.k,
        (seen.n, seen.n_features),
        wishes.family,
        seen.dtype,
        seen.origin,
        wishes.distribution,
    )
    assert isinstance(given.value, Mixture)
    return given.value


def _empty(wishes: Wishes, seen: Survey) -> Mixture:
    """A mixture of the shapes of the start."""
    k, d = wishes.k, seen.n_features
    shaped = wishes.distribution.shaped
    return build(
        Mixture,
        weights=np.zeros(k, seen.dtype),
        means=np.zeros((k, d), seen.dtype),
        covariances=np.zeros(wishes.family.shape(k, d), seen.dtype),
        family=wishes.family,
        distribution=wishes.distribution,
        degrees_of_freedom=np.zeros(k, seen.dtype) if shaped else None,
    )


def _begin(
    problem: Problem[Elsewhere], start: Mixture, stop: Gain, solver: Foretelling, capacity: int
) -> Loop:
    inside = of_mixture(problem, start)
    # EM and SQUAREM draw nothing.
    return begun(problem, solver, inside, stop, capacity, jax.random.key(0))


@program("solver", "capacity", once=True)
def _begun(
    problem: Problem[Elsewhere], start: Mixture, stop: Gain, solver: Foretelling, capacity: int
) -> Loop:
    return _begin(problem, start, stop, solver, capacity)


@program(once=True)
def finished(problem: Problem[Elsewhere], run: Run[Mixture]) -> FitResult:
    """The result of a run, around the origin."""
    return result_of(problem, run, jnp.ones(run.best.weights.shape, bool))
