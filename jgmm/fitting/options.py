"""What callers of `fit`, `sweep` and `fit_gradient` may choose, read and checked in one place."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import PrecisionWarning, warn
from jgmm._struct import amend, struct
from jgmm.clustering.k_means import restart_keys
from jgmm.data.arrays import module_of
from jgmm.data.devices import place
from jgmm.data.origin import Origin, near_origin, plus
from jgmm.data.programs import round_up
from jgmm.data.samples import Rows, on_one_core
from jgmm.em.prior import Prior, as_prior
from jgmm.em.problem import Problem
from jgmm.em.result import FitResult, with_largest_first
from jgmm.families.distributions import chosen
from jgmm.families.family import Family
from jgmm.families.table import family_of
from jgmm.fitting.batch import Cut, posed
from jgmm.fitting.choices import Choices, checked
from jgmm.fitting.given import Given, as_labels
from jgmm.fitting.given import read as read_init
from jgmm.fitting.population import Plan
from jgmm.fitting.sizes import search_of, subsample_size
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.shown import deviations
from jgmm.solvers.em import Em
from jgmm.solvers.iterate import StoppingRule
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stages import Stage
from jgmm.solvers.stopping import Gain

TELLING = 50  # steps at most, from which on the search is a part of the history
# Lengths of the history that programs are compiled for; results are cut to max_iter + 1.
_CAPACITY = 512


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """What programs are compiled for."""

    family: Family
    start: str  # the kind of start, see `given.Given`
    stages: tuple[Stage, ...]
    capacity: int  # length of the history
    cut: Cut
    plan: Plan | None  # of the search for a better optimum; None for none


@struct
class Settings:
    """What is traced: changing it does not compile again."""

    stop: StoppingRule
    init: Mixture | Array | None  # given to start from
    priors: dict[int, Prior | None]  # for each k, in the data's units


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for: a problem, and how to fit it."""

    problem: Problem  # without a prior
    mesh: Mesh | None
    options: FitOptions
    settings: Settings
    ks: tuple[int, ...]
    n_components: int  # K, padding included
    keys: Array  # [R]
    max_iter: int
    sequential: bool  # whether fits are taken one after the other, and not side by side
    origin: Origin | None  # what was subtracted from the pixels
    path: bool  # whether each number of components is tried from its neighbours
    by_weight: bool  # whether components are to be in order of decreasing weight

    def used(self, rows: Sequence[int]) -> Any:
        """Which of the components take part, for some of the ks [S, K]."""
        if isinstance(self.settings.init, Mixture):
            return self.settings.init.weights[None] > 0
        ks = np.array([self.ks[s] for s in rows])
        return np.arange(self.n_components)[None, :] < ks[:, None]

    def delivered(self, result: FitResult) -> FitResult:
        """A result as the caller wants it."""
        return delivered(result, self.origin, in_order=self.by_weight)

    @property
    def n_fits(self) -> int:
        """How many fits there are."""
        return len(self.ks) * len(self.keys)

    @property
    def n_threads(self) -> int:
        """How many of its programs may run at the same time."""
        features = self.problem.samples.features
        d, size = features.shape[-2:]
        rows = self.n_components * (d + 1 if self.options.cut.incomplete else 1)
        alone = on_one_core(rows, d, size, features.dtype)
        # Programs that span devices wait for each other too.
        return (os.cpu_count() or 1) if alone and self.mesh is None else 1

    @property
    def n_told(self) -> int:
        """How many entries of the history are of the search before the steps."""
        plan = self.options.plan
        return 0 if plan is None or self.max_iter < TELLING else plan.n_stages

    @property
    def one_prior(self) -> bool:
        """Whether all k have the same."""
        return len(set(map(id, self.settings.priors.values()))) == 1


def delivered(result: FitResult, origin: Origin | None, *, in_order: bool) -> FitResult:
    """A result as the caller wants it: where the pixels were, its components in order."""
    mixture = result.mixture
    if origin is not None:
        mixture = amend(mixture, means=plus(mixture.means, origin))
        _tell_of_rounding(mixture)
    result = dataclasses.replace(result, mixture=mixture)
    return with_largest_first(result) if in_order else result


def _tell_of_rounding(mixture: Mixture) -> None:
    """Warn where the means, far from the origin, are rounded to what matters to densities."""
    if not _checks.all_concrete(mixture) or mixture.means.ndim != 2:
        return
    means, widths = np.asarray(mixture.means), deviations(mixture)
    apart = np.spacing(np.abs(means))
    if (apart > 0.1 * widths).any():
        worst = np.unravel_index(np.argmax(apart / np.maximum(widths, 1e-30)), means.shape)
        warn(
            f"numbers of {means.dtype} are {apart[worst]:.3g} apart where a component lies that is "
            f"{widths[worst]:.3g} wide: the fit is right, but densities and labels of these "
            "pixels under its rounded means are not. Subtract a center from the pixels, or call "
            "jax.config.update('jax_enable_x64', True) before JAX is first used",
            PrecisionWarning,
        )


def read(pixels: ArrayLike, ks: Sequence[int], choices: Choices, *, spread: bool) -> Request:
    """Check what a caller chose, bring the samples to their devices, and pose the problem.

    Args:
        pixels: [..., D].
        ks: numbers of components.
        choices: the keywords.
        spread: let one fit share its samples out over the cores.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument that is not what was expected.
    """
    asked = checked(choices)
    array, origin = near_origin(pixels, missing=asked.incomplete)
    n, d, dtype = math.prod(array.shape[:-1]), array.shape[-1], array.dtype
    family = family_of(choices.covariance_type, n_features=d)
    distribution, dof = chosen(choices.distribution, choices.degrees_of_freedom, dtype)
    given = read_init(choices.init, max(ks), array.shape, family, dtype, origin, distribution)
    asked.expect_starts(given.by_name)
    rows = _rows_of(array, min(ks), choices, given)
    priors = _priors_of(array, ks, choices, origin)
    floor = floor_of(choices.reg_covar, d, dtype)
    stop = stop_of(choices.tol, asked.max_iter, dtype)
    del array  # of large data one copy less
    placed, mesh = place(rows, spread=spread)
    keys = restart_keys(asked.key, asked.n_restarts if given.by_name else 1)
    # Fits of a vmap all run until the slowest ends. On a CPU nothing is gained by that.
    on_cpu = jax.default_backend() == "cpu"
    traced = not _checks.all_concrete((placed, floor, dof, stop, priors, keys, given.value))
    sequential = on_cpu and not traced
    matrices = asked.incomplete and not family.independent
    most = _rounded_up(max(ks), placed.rows.features, matrices) if sequential else max(ks)
    # A start that is given is where to begin, and a subsample might miss labels.
    free = given.by_name and rows.labels is None and asked.max_iter > 0
    few, plan = _before(n, max(ks), d, family, choices) if free else (None, None)
    # On a CPU fits go one after the other, under a trace too.
    side_by_side = 1 if on_cpu else len(ks) * len(keys)
    in_block = most * side_by_side * (d + 1 if asked.incomplete else 1)
    cut = Cut(
        block_size=family.block_size(in_block, d, dtype),
        incomplete=asked.incomplete,
        few=few if few is None or mesh is None else few // mesh.size,
    )
    stages = choices.stages or (Stage(Squarem() if choices.accelerate else Em()),)
    capacity = history_capacity(asked.max_iter)
    return Request(
        problem=posed(placed, floor, dof, family, distribution, cut, mesh),
        mesh=mesh,
        options=FitOptions(family, given.kind, stages, capacity, cut, plan),
        settings=Settings(stop=stop, init=given.padded(most).value, priors=priors),
        ks=tuple(ks),
        n_components=most,
        keys=keys,
        max_iter=asked.max_iter,
        sequential=sequential,
        origin=origin,
        path=asked.searching and len(ks) > 1 and free,
        by_weight=asked.by_weight,
    )


def _rows_of(array: Array, k: int, choices: Choices, given: Given) -> Rows:
    """The samples, and what is known of each; labels are below ``k``."""
    shape, labels = array.shape, choices.labels
    return Rows(
        features=array.reshape(-1, shape[-1]) if array.ndim != 2 else array,  # which would copy it
        weights=_checks.as_weights(choices.weights, shape[:-1], array.dtype),
        labels=None if labels is None else as_labels("labels", labels, k, shape),
        hints=given.hints,
    )


def _priors_of(
    array: Array, ks: Sequence[int], choices: Choices, origin: Origin | None
) -> dict[int, Prior | None]:
    """The prior of each k; only a weak one is another for each."""

    def of(k: int) -> Prior | None:
        return as_prior(choices.prior, array, k, choices.weights, choices.missing, origin)

    if isinstance(choices.prior, str):
        return {k: of(k) for k in ks}
    return dict.fromkeys(ks, of(ks[0]))


def _rounded_up(k: int, features: Array, matrices: bool) -> int:
    """As many components as programs for few numbers have.

    Where each sample with gaps has ``matrices`` of its own, more components cost more.
    """
    return round_up(k, features.size * (features.shape[-1] if matrices else 1))


def _before(
    n: int, k: int, d: int, family: Family, choices: Choices
) -> tuple[int | None, Plan | None]:
    """What comes before the steps: the size of a subsample, and the plan of a search on it."""
    few, plan = search_of(n, k, d, family) if choices.search == "best" else (None, None)
    if choices.short_runs and plan is None:
        few = subsample_size(n, k, d, family)
    return few, plan


def floor_of(reg_covar: ArrayLike, d: int, dtype: Any) -> Array:
    """The floor of each feature [D], relative to its variance."""
    floor = as_floor(reg_covar, dtype)
    if floor.shape not in ((), (d,)):
        raise ValueError(f"reg_covar: expected a number or shape ({d},), got {floor.shape}")
    wide: Array = module_of(floor).broadcast_to(floor, (d,))
    return wide


def as_floor(reg_covar: ArrayLike, dtype: Any) -> Array:
    """The same of features whose number is not known [] or [D]."""
    return _checks.all_or_none("reg_covar", _checks.as_nonnegative("reg_covar", reg_covar, dtype))


def stop_of(tol: ArrayLike, max_iter: int, dtype: Any) -> Gain:
    """When to stop."""
    return Gain(tol=_checks.as_nonnegative("tol", tol, dtype), max_iter=as_int32(max_iter))


def history_capacity(max_iter: int) -> int:
    """The history length to compile for: one of few."""
    return _CAPACITY * 2 ** max(0, -(-(max_iter + 1) // _CAPACITY) - 1).bit_length()


def as_int32(count: int) -> Array:
    """A count for a program, on the host."""
    array: Any = np.asarray(count, np.int32)
    return array
