"""The programs of a fit: pose the problem, start, iterate, and go back to the units of the data.

Each is compiled on its own, and each serves many: one loop is for runs on a subsample and on
everything, for restarts, and for numbers of components that are rounded up to the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from jgmm._status import Status
from jgmm.data.devices import Placed, Shares, over_blocks, to_blocks
from jgmm.data.programs import program
from jgmm.data.samples import Layout, Samples, Span
from jgmm.data.subsample import append, fewer
from jgmm.em import prior as priors
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem, pose
from jgmm.em.result import FitResult
from jgmm.families.distribution import Distribution
from jgmm.families.family import Family
from jgmm.families.floor import at_floor
from jgmm.fitting import given, starts
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, StoppingRule
from jgmm.solvers.stages import Stage, run_stages

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Cut:
    """How samples are cut into blocks; static."""

    block_size: int
    incomplete: bool  # features that are NaN were not observed
    few: int | None  # samples in a subsample, on each device; None for none

    @property
    def spare(self) -> int:
        """Blocks for the subsample."""
        return 0 if self.few is None else -(-self.few // self.block_size)


@program("family", "distribution", "cut", "mesh", once=True)
def posed(
    placed: Placed,
    floor: Array,
    degrees_of_freedom: Array | None,
    family: Family,
    distribution: Distribution,
    cut: Cut,
    mesh: Mesh | None,
) -> Problem:
    """The problem without a prior, a subsample of it in the spare blocks."""

    def on_device(raw: Samples, floor: Array, dof: Array | None) -> tuple[Samples, Problem]:
        problem = pose(raw, family, floor, None, distribution, dof)
        samples = problem.samples
        if cut.few is not None:
            # The same for all restarts and numbers of components.
            most = cut.few * (1 if mesh is None else mesh.size)
            few = fewer(samples, jax.random.key(0), most)
            samples = append(samples, few)
        return samples, problem.on(None)

    samples, problem = to_blocks(
        on_device,
        placed,
        cut.block_size,
        mesh,
        floor,
        degrees_of_freedom,
        incomplete=cut.incomplete,
        spare=cut.spare if isinstance(placed.held, Shares) else 0,  # `append` makes them else
    )
    return problem.on(samples)


def whole(problem: Problem, cut: Cut) -> Problem:
    """The problem of all samples."""
    return problem.on(problem.samples.front(cut.spare))


def few(problem: Problem, cut: Cut) -> Problem:
    """The problem of the subsample."""
    assert cut.few is not None
    return problem.on(problem.samples.behind(cut.spare, cut.few))


def once_started(problem: Problem) -> Problem:
    """Without the hints, which starts alone are made from: runs from all are one program."""
    return problem.on(dataclasses.replace(problem.samples, hints=None))


def with_prior(problem: Problem, prior: Prior | None) -> Problem:
    """A prior in the units of the data put in."""
    if prior is None:
        return problem
    return dataclasses.replace(problem, prior=priors.standardize(prior, problem.frame))


@program("kind", "length", "mesh", "n_each", once=True)
def started(
    problem: Problem,
    used: Array,
    keys: Array,
    init: Mixture | Array | None,
    prior: Prior | None,
    kind: str,
    length: int | None,
    mesh: Mesh | None,
    n_each: int | None = None,
) -> Mixture:
    """The mixtures to start from, in the frame, with leading axes [S, R].

    Args:
        problem: see `posed`.
        used: which components take part, [S, K].
        keys: a key for each restart, [R]; with ``n_each`` one, of which so many are made.
        init: mixture or means that were given to start from.
        prior: in the units of the data.
        kind: of the start, see `given.Given`.
        length: of the samples, if they are fewer than all.
        mesh: where the samples are.
        n_each: starts from a key.
    """

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> Mixture:
        used, keys, init, prior = arguments
        if n_each is not None:
            keys = jax.random.split(keys[0], n_each)
        if length is not None:
            layout = Layout(length=length, axis=samples.layout.axis)
            samples = dataclasses.replace(samples, layout=layout)
        problem = with_prior(problem.on(samples), prior)

        def one(used: Array, key: Array) -> Mixture:
            if kind in starts.STARTS:
                return starts.by_name(problem, used, key, kind)
            return given.of_given(problem, used, kind, init)

        shape = len(used), len(keys)
        every = jnp.broadcast_to(used[:, None], (*shape, used.shape[1]))
        return each(one, every, jnp.broadcast_to(keys, shape))

    arguments = (used, keys, init, prior)
    mixtures: Mixture = over_blocks(on_device, problem.samples, mesh, problem.on(None), *arguments)
    return mixtures


@program("stages", "capacity", "mesh")
def iterated(
    problem: Problem,
    mixtures: Mixture,
    keys: Array,
    prior: Prior | None,
    stop: StoppingRule,
    stages: tuple[Stage, ...],
    capacity: int,
    mesh: Mesh | None,
    chosen: Span | None = None,
) -> Run[Mixture]:
    """The runs from mixtures [S, R] with keys [R], in the frame.

    With ``chosen`` S is 1, and only these of the R are run, one after the other: one program for
    any number of runs.
    """

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> Run[Mixture]:
        mixtures, keys, prior, stop, chosen = arguments
        problem = with_prior(problem.on(samples), prior)
        keys = jnp.broadcast_to(keys, mixtures.weights.shape[:2])

        def one(first: Mixture, key: Array) -> Run[Mixture]:
            run = run_stages(problem, first, stages, stop, capacity, key)
            return dataclasses.replace(run, state=())

        return each(one, mixtures, keys) if chosen is None else _some(one, chosen, mixtures, keys)

    arguments = (mixtures, keys, prior, stop, chosen)
    runs: Run[Mixture] = over_blocks(on_device, problem.samples, mesh, problem.on(None), *arguments)
    return runs


@program("mesh", once=True)
def finished(
    problem: Problem, runs: Run[Mixture], used: Array, prior: Prior | None, mesh: Mesh | None
) -> FitResult:
    """The results of runs [S, R] in the units of the data."""

    def on_device(samples: Samples, problem: Problem, *arguments: Any) -> FitResult:
        runs, used, prior = arguments
        problem = with_prior(problem.on(samples), prior)

        def one(used: Array, run: Run[Mixture]) -> FitResult:
            return result_of(problem, run, used)

        every = jnp.broadcast_to(used[:, None], runs.best.weights.shape)
        return each(one, every, runs)

    result: FitResult = over_blocks(
        on_device, problem.samples, mesh, problem.on(None), runs, used, prior
    )
    return result


def each(function: Callable[..., T], *arguments: Any) -> T:
    """``function`` of arguments with leading axes [S, R]."""
    shape = jax.tree.leaves(arguments)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), arguments)
    if shape == (1, 1):  # without a loop it compiles faster
        alone = function(*jax.tree.map(lambda leaf: leaf[0], flat))
        found: T = jax.tree.map(lambda leaf: leaf[None], alone)
    else:
        found = over(lambda one: function(*one), flat)
    every: T = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)
    return every


def over(function: Callable[[Any], T], batch: Any) -> T:
    """``function`` of each of a batch.

    On a CPU in turn: cond branches, and none runs until the slowest ends.
    """
    if jax.default_backend() == "cpu":
        return lax.map(function, batch)
    return jax.vmap(function)(batch)


def _some(function: Callable[..., T], chosen: Span, *arguments: Any) -> T:
    """The same for some of arguments with leading axes [1, R], in turn; zeros for the others."""
    flat = jax.tree.map(lambda leaf: leaf[0], arguments)
    shapes = jax.eval_shape(lambda leaves: function(*jax.tree.map(lambda x: x[0], leaves)), flat)
    n = len(jax.tree.leaves(flat)[0])
    nothing = jax.tree.map(lambda s: jnp.zeros((n, *s.shape), s.dtype), shapes)

    def visit(place: Array, found: T) -> T:
        one = function(*jax.tree.map(lambda leaf: leaf[place], flat))
        kept: T = jax.tree.map(lambda every, leaf: every.at[place].set(leaf), found, one)
        return kept

    found = lax.fori_loop(chosen.start, chosen.start + chosen.n, visit, nothing)
    every: T = jax.tree.map(lambda leaf: leaf[None], found)
    return every


def result_of(problem: Problem, run: Run[Mixture], used: Array) -> FitResult:
    """A run in the units of the data. One that lost a component is degenerate.

    So is one whose covariances are too small, or large, for the dtype in those units.
    """
    best, value = run.best, run.value.value
    mixture = problem.unstandardize(best)
    _, half_log_dets = mixture.family.inverse_root(mixture.covariances, mixture.n_features)
    lost = jnp.any(used & (best.weights == 0)) | ~jnp.all(jnp.isfinite(half_log_dets))
    lost &= run.status != Status.NONFINITE
    floor = problem.floor.variances
    flat = at_floor(best.family, best.covariances, floor, best.n_components)
    status = jnp.where(lost, Status.DEGENERATE, run.status)
    return FitResult(
        mixture=mixture,
        log_likelihood=problem.log_likelihood(best, value),
        objective=problem.in_data_units(best, value),
        history=problem.in_data_units(best, run.history),
        n_iter=run.n_iter,
        status=status.astype(jnp.int32),
        weight=problem.weight,
        at_floor=used & (best.weights > 0) & flat,
    )
