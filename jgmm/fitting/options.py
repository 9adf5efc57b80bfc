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
from jgmm.fitting.given import as_labels
from jgmm.fitting.given import read as read_init
from jgmm.fitting.population import Plan
from jgmm.fitting.sizes import search_of, subsample_size
from jgmm.mixture.mixture import FitLike, Mixture
from jgmm.mixture.shown import deviations
from jgmm.solvers.em import Em
from jgmm.solvers.iterate import StoppingRule
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stages import Stage
from jgmm.solvers.stopping import Gain

SEARCHES = ("best", "none")
TELLING = 50  # steps at most, from which on the search is a part of the history
# Lengths of the history that programs are compiled for; results are cut to max_iter + 1.
_CAPACITY = 512


@dataclasses.dataclass(frozen=True)
class Choices:
    """The keywords of `fit` and `sweep`, as their docstrings have them."""

    key: Array | int | None = None
    weights: ArrayLike | None = None
    init: str | Mixture | FitLike | ArrayLike = "kmeans"
    covariance_type: str | Family = "full"
    distribution: str = "gaussian"
    degrees_of_freedom: ArrayLike | str = "free"
    n_restarts: int = 1
    max_iter: int = 500
    tol: ArrayLike = 1e-6
    reg_covar: ArrayLike = 1e-6
    accelerate: bool = True
    prior: Prior | str | None = None
    missing: str = "error"
    labels: ArrayLike | None = None
    search: str = "none"
    short_runs: bool = True
    order: str | None = None
    stages: tuple[Stage, ...] | None = None  # of `fit_gradient`, in the place of EM


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
    n_restarts = _checks.as_count("n_restarts", choices.n_restarts)
    max_iter = _checks.as_count("max_iter", choices.max_iter, minimum=0)
    if choices.order is not None:
        _checks.one_of("order", choices.order, ("weight",))
        if choices.labels is not None:
            raise ValueError("order: expected None with labels, which number the components")
    incomplete = _checks.one_of("missing", choices.missing, ("error", "nan")) == "nan"
    array, origin = near_origin(pixels, missing=incomplete)
    d, dtype, shape = array.shape[-1], array.dtype, array.shape
    family = family_of(choices.covariance_type, n_features=d)
    distribution, dof = chosen(choices.distribution, choices.degrees_of_freedom, dtype)
    given = read_init(choices.init, max(ks), shape, family, dtype, origin, distribution)
    if n_restarts > 1 and not given.by_name:
        raise ValueError(
            f"n_restarts: expected 1 with an init that is given, got {n_restarts}, which would do "
            "nothing: all would be the same fit"
        )
    labels = None
    if choices.labels is not None:
        labels = as_labels("labels", choices.labels, min(ks), shape)
    priors: dict[int, Prior | None] = {}
    for k in ks:
        named = isinstance(choices.prior, str) or not priors  # "weak" is another for each k
        priors[k] = (
            as_prior(choices.prior, array, k, choices.weights, choices.missing, origin)
            if named
            else next(iter(priors.values()))
        )
    floor = floor_of(choices.reg_covar, d, dtype)
    stop = Gain(
        tol=_checks.as_nonnegative("tol", choices.tol, dtype),
        max_iter=as_int32(max_iter),
    )
    rows = Rows(
        features=array.reshape(-1, d) if array.ndim != 2 else array,  # which would be a copy
        weights=_checks.as_weights(choices.weights, shape[:-1], dtype),
        labels=labels,
        hints=given.hints,
    )
    del array  # of large data one copy less
    placed, mesh = place(rows, spread=spread)
    keys = restart_keys(choices.key, n_restarts if given.by_name else 1)
    # Fits of a vmap all run until the slowest ends. On a CPU nothing is gained by that.
    traced = not _checks.all_concrete((placed, floor, dof, stop, priors, keys, given.value))
    sequential = jax.default_backend() == "cpu" and not traced
    # Of samples with gaps each has matrices of its own, so that more components cost more.
    numbers = placed.rows.features.size * (d if incomplete and not family.independent else 1)
    most = round_up(max(ks), numbers) if sequential else max(ks)
    given = given.padded(most)
    # On a CPU fits go one after the other, under a trace too.
    side_by_side = 1 if jax.default_backend() == "cpu" else len(ks) * len(keys)
    _checks.one_of("search", choices.search, SEARCHES)
    few, plan = None, None
    searching = choices.search == "best"
    if given.by_name and labels is None and max_iter > 0:
        n = math.prod(shape[:-1])
        if searching:
            few, plan = search_of(n, max(ks), d, family)
        if choices.short_runs and plan is None:
            few = subsample_size(n, max(ks), d, family)
    cut = Cut(
        block_size=family.block_size(most * side_by_side * (d + 1 if incomplete else 1), d, dtype),
        incomplete=incomplete,
        few=few if few is None or mesh is None else few // mesh.size,
    )
    return Request(
        problem=posed(placed, floor, dof, family, distribution, cut, mesh),
        mesh=mesh,
        options=FitOptions(
            family=family,
            start=given.kind,
            stages=choices.stages or (Stage(Squarem() if choices.accelerate else Em()),),
            capacity=history_capacity(max_iter),
            cut=cut,
            plan=plan,
        ),
        settings=Settings(stop=stop, init=given.value, priors=priors),
        ks=tuple(ks),
        n_components=most,
        keys=keys,
        max_iter=max_iter,
        sequential=sequential,
        origin=origin,
        path=searching and len(ks) > 1 and given.by_name and labels is None and max_iter > 0,
        by_weight=choices.order is not None,
    )


def floor_of(reg_covar: ArrayLike, d: int, dtype: Any) -> Array:
    """The floor of each feature [D], relative to its variance."""
    floor = _checks.all_or_none("reg_covar", _checks.as_nonnegative("reg_covar", reg_covar, dtype))
    if floor.shape not in ((), (d,)):
        raise ValueError(f"reg_covar: expected a number or shape ({d},), got {floor.shape}")
    wide: Array = module_of(floor).broadcast_to(floor, (d,))
    return wide


def history_capacity(max_iter: int) -> int:
    """The history length to compile for: one of few."""
    return _CAPACITY * 2 ** max(0, -(-(max_iter + 1) // _CAPACITY) - 1).bit_length()


def as_int32(count: int) -> Array:
    """A count for a program, on the host."""
    array: Any = np.asarray(count, np.int32)
    return array
