"""`sweep`: many fits of the same pixels at once, over numbers of components and restarts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import Status, raise_for_status, warn_of_status
from jgmm._struct import Shown, Table, number, struct, values_known
from jgmm.data.devices import over_blocks
from jgmm.data.interruptible import interruptible
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.em.curve import colour_of, curve_svg
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.em.result import FitResult, floor_notes, of_components
from jgmm.families.family import Family
from jgmm.families.table import with_rank
from jgmm.fitting.batch import whole
from jgmm.fitting.choices import Choices
from jgmm.fitting.delivery import cannot_converge
from jgmm.fitting.dispatch import best_restart, fit_all
from jgmm.fitting.options import read
from jgmm.fitting.progress import shown
from jgmm.fitting.starts import STARTS
from jgmm.mixture.criteria import criteria_of, n_parameters

CRITERIA = ("bic", "aic", "icl")


@struct
class SweepResult(Shown):
    """The result of `sweep`: S numbers of components by R restarts.

    Mixtures are padded to the largest number of components with components of weight 0;
    indexing takes the padding off.

    Attributes:
        fits: a `FitResult` whose arrays have leading axes [S, R].
        n_components: the numbers of components [S].
        bic: the Bayesian information criterion of each fit [S, R].
        aic: Akaike's information criterion [S, R].
        icl: the integrated completed likelihood [S, R].
    """

    fits: FitResult
    n_components: Array
    bic: Array
    aic: Array
    icl: Array

    def _tables(self) -> tuple[Table]:
        return (self.summary(),)

    def _showable(self) -> bool:
        return values_known(self) and np.ndim(self.fits.status) == 2

    def summary(self) -> Table:
        """For each number of components its best restart, as a table to print."""
        ks, s = np.asarray(self.n_components), np.arange(len(self.n_components))
        r = _best_restarts(self.fits)
        values = {name: np.asarray(getattr(self, name))[s, r] for name in CRITERIA}
        least = {name: _argmin(values[name]) for name in CRITERIA}
        log_likelihoods = np.asarray(self.fits.log_likelihood)[s, r]
        n_iter = np.asarray(self.fits.n_iter)[s, r]
        statuses = self.statuses()
        rows = [
            (
                str(ks[i]),
                number(log_likelihoods[i], 6),
                *(number(values[n][i], 6) + (" *" if i == least[n] else "  ") for n in CRITERIA),
                str(n_iter[i]),
                Status(int(statuses[i])).name,
            )
            for i in s
        ]
        family, n_restarts = self.fits.mixture.family.name, self.fits.status.shape[1]
        starts = "" if n_restarts == 1 else f", the best of {n_restarts} restarts each"
        columns = ("k", "log-likelihood", *(n.upper() for n in CRITERIA), "steps", "status")
        kind = f"{family} {self.fits.mixture.distribution.title}".rstrip()
        title, notes = f"Sweep of {kind} mixtures{starts}", ["  * the least"]
        if (flat := self.fits.at_floor) is not None:
            for i in s:
                notes += floor_notes(np.asarray(flat)[i, r[i], : ks[i]], f"k = {ks[i]}, ")
        return Table(title, columns, rows, notes, [colour_of(i) for i in s.tolist()], "curve")

    def _picture(self) -> str:
        ks, r = np.asarray(self.n_components).tolist(), _best_restarts(self.fits)
        histories = np.asarray(self.fits.history)[np.arange(len(ks)), r]
        return curve_svg({f"k = {k}": row.tolist() for k, row in zip(ks, histories, strict=True)})

    def statuses(self) -> npt.NDArray[Any]:
        """The `Status` of the best restart for each number of components [S], on the host."""
        codes = np.asarray(self.fits.status)
        chosen: npt.NDArray[Any] = codes[np.arange(len(codes)), _best_restarts(self.fits)]
        return chosen

    def raise_for_status(self) -> None:
        """Raise a RuntimeError unless the best restart for every k converged."""
        traced = not _checks.is_concrete(self.fits.status)
        raise_for_status(self.fits.status if traced else self.statuses())

    def __getitem__(self, k: int) -> FitResult:
        """The fit of ``k`` components with the highest objective among the restarts."""
        ks = np.asarray(self.n_components).tolist()
        if k not in ks:
            raise KeyError(f"expected one of the numbers of components {ks}, got {k!r}")
        restarts = jax.tree.map(lambda leaf: leaf[ks.index(k)], _on_host(self.fits))
        length = self.fits.history.shape[-1]
        return _without_padding(best_restart(restarts, length - 1), k)

    def best(self, criterion: str = "bic") -> FitResult:
        """The fit with the least "bic", "aic" or "icl" of all."""
        _checks.one_of("criterion", criterion, CRITERIA)
        values = np.asarray(getattr(self, criterion))
        values = np.where(np.isfinite(values), values, np.inf)
        s, r = np.unravel_index(np.argmin(values), values.shape)
        fit: FitResult = jax.tree.map(lambda leaf: leaf[s, r], _on_host(self.fits))
        return _without_padding(fit, int(self.n_components[s]))


def _best_restarts(fits: FitResult) -> npt.NDArray[Any]:
    """Of fits [S, R] the restart of highest objective for each s."""
    objectives = np.asarray(fits.objective)
    return np.argmax(np.where(np.isfinite(objectives), objectives, -np.inf), axis=1)


def _argmin(values: npt.NDArray[Any]) -> int:
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))


def _on_host(fits: FitResult) -> FitResult:
    """Fits as NumPy arrays, which nothing is compiled for; tracers as they are."""
    return jax.device_get(fits) if _checks.is_concrete(fits.log_likelihood) else fits


def _without_padding(result: FitResult, k: int) -> FitResult:
    result = _on_host(result)
    return jax.tree.map(_checks.as_array, of_components(result, slice(k)))


@program("mesh", once=True)
def _judged(problem: Problem, fits: FitResult, mesh: Mesh | None) -> dict[str, Array]:
    """The criteria of fits with leading axes [S, R]."""

    def on_device(samples: Samples, problem: Problem, fits: FitResult) -> dict[str, Array]:
        problem = problem.on(samples)

        def one(fit: FitResult) -> dict[str, Array]:
            log_likelihood = fit.log_likelihood * problem.weight
            entropy = problem.entropy(fit.mixture)
            return criteria_of(log_likelihood, n_parameters(fit.mixture), problem.weight, entropy)

        return jax.vmap(jax.vmap(one))(fits)

    judged: dict[str, Array] = over_blocks(on_device, problem.samples, mesh, problem.on(None), fits)
    return judged


def sweep(
    pixels: ArrayLike,
    ks: Sequence[int],
    *,
    key: Array | int | None = None,
    weights: ArrayLike | None = None,
    init: str = "kmeans",
    covariance_type: str | Family = "full",
    rank: int | None = None,
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
    search: str = "best",
    short_runs: bool = True,
    order: str | None = None,
    on_fit: Callable[[int, int, float], None] | None = None,
    progress: bool = False,
) -> SweepResult:
    """Fit mixtures of several numbers of components, each from several starts.

    One compiled program serves all of them, by padding to the largest k with components of
    weight 0. On accelerators they run side by side, as a vmap; on a CPU in turn.

    With ``search="none"`` every fit is what `fit` gives for that k and key: restart r of R takes
    the key ``jax.random.split(key, R)[r]``, or ``key`` itself if R is 1. Where a subsample comes
    first, it is as large as the largest k asks for, and all restarts go on from it.

    With ``search="best"`` what is found for each k is also tried from what was found for its
    neighbours among the ks, a component split or two merged, and replaced where that is better.
    In each restart the likelihood never falls from one k to the next, unless there is a prior,
    under which objectives of different k do not compare, or there are labels.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        ks: the S different numbers of components.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: "kmeans", "k-means++", "random" or "random_from_data"; see `fit`.
        covariance_type: "full", "tied", "diag", "spherical", another of mclust's fourteen by its
            name, such as "VEV", or "factor" or "ppca" (experiments/FAMILIES.md).
        rank: see `fit`.
        distribution: see `fit`.
        degrees_of_freedom: see `fit`.
        n_restarts: R, starts for each k.
        max_iter: see `fit`; what is tried from the neighbours of a k is not counted either.
        tol: see `fit`.
        reg_covar: see `fit`.
        accelerate: see `fit`.
        prior: see `fit`; "weak" is another for each k.
        missing: see `fit`.
        labels: see `fit`; they have to be below the least of the ks.
        search: see `fit`.
        short_runs: see `fit`.
        order: see `fit`.
        on_fit: called from the host after each fit, in any order, with k, the restart and the
            seconds it took, compilation included; where fits run side by side, after all of them.
        progress: see `fit`.

    Returns:
        All fits and their criteria; ``result[k]`` is the best fit of k components and
        ``result.best()`` the one that BIC chooses.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a k < 1, no or repeated ks, an unknown name, shapes that do not fit, values
            that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 1))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.sweep(pixels, [1, 2, 3])
        >>> result.best().mixture.n_components
        2
    """
    counts = [_checks.as_count("ks", k) for k in ks]
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(f"ks: expected different numbers of components, got {list(ks)}")
    _checks.one_of("init", init, STARTS)
    choices = Choices(
        key=key,
        weights=weights,
        init=init,
        covariance_type=with_rank(covariance_type, rank),
        distribution=distribution,
        degrees_of_freedom=degrees_of_freedom,
        n_restarts=n_restarts,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        accelerate=accelerate,
        prior=prior,
        missing=missing,
        labels=labels,
        search=search,
        short_runs=short_runs,
        order=order,
    )

    def report(s: int, r: int, seconds: float) -> None:
        if on_fit is not None:
            on_fit(counts[s], r, seconds)

    def work() -> SweepResult:
        request = read(pixels, counts, choices, spread=False)
        fits = fit_all(request, report)
        history = _checks.as_array(_on_host(fits).history[..., : request.max_iter + 1])
        fits = dataclasses.replace(fits, history=history)
        problem = whole(request.problem, request.options.cut)
        problem = problem.on(problem.samples.once_started)
        criteria = _judged(problem, fits, request.mesh)
        return SweepResult(
            fits=request.delivered(fits),
            n_components=_checks.as_array(np.array(counts), np.int32),
            **criteria,
        )

    with shown(progress):
        result = interruptible(work, pixels, tuple(vars(choices).values()))
    if _checks.is_concrete(result.fits.status):
        asked = {"max_iter": max_iter, "tol": tol}
        warn_of_status(result.statuses(), on_purpose=cannot_converge(asked))
    return result
