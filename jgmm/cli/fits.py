"""The fits of a job: a sweep over numbers of components, or variational Bayes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import numpy.typing as npt

from jgmm._status import unheard
from jgmm.cli.options import JobError, Options
from jgmm.fitting.in_use import as_sweep, fit_of
from jgmm.fitting.sweeps import SweepResult, sweep
from jgmm.fitting.variational import fit_variational
from jgmm.image.samples import Samples

NdArray = npt.NDArray[Any]


class Monitor(Protocol):
    """Whoever wants to hear how far a job is; may be called from any thread."""

    def begin(self, name: str, about: str, steps: int, doing: str = "fitting") -> None:
        """A job of so many steps starts, with ``doing``."""

    def step(self, text: str, advance: int = 1) -> None:
        """A step has been done."""


def fits_of(
    name: Path, samples: Samples, offered: Sequence[int], options: Options, monitor: Monitor
) -> tuple[SweepResult, dict[int, float]]:
    """The sweep over all k, and the seconds that each took: the longest of its restarts.

    Raises:
        JobError: features that make no finite likelihood.
    """
    seconds = dict.fromkeys(offered, 0.0)

    def on_fit(k: int, restart: int, elapsed: float) -> None:
        seconds[k] = max(seconds[k], elapsed)
        which = f", start {restart + 1} of {options.restarts}" if options.restarts > 1 else ""
        monitor.step(f"fitted k = {k}{which} in {elapsed:.1f} s")

    if options.bayes:
        return _fit_bayes(name, samples, offered, options, monitor)
    with unheard():  # the table says how fits ended
        result = sweep(
            samples.features,
            offered,
            **_asked(samples, options),
            **options.distributed,
            short_runs=False,  # without a search the learning curve shows the whole way
            on_fit=on_fit,
        )
    _expect_finite(np.isfinite(result.fits.log_likelihood).any(axis=1), name, options)
    return result, seconds


def _asked(samples: Samples, options: Options) -> dict[str, Any]:
    """What a fit of either kind is asked for, as keywords."""
    return {
        "key": jax.random.key(options.seed),
        "weights": samples.weights,
        "labels": samples.labels,
        "covariance_type": options.covariance,
        "n_restarts": options.restarts,
        "max_iter": options.max_iter,
        "tol": options.tol,
        "reg_covar": samples.floor,
        "search": options.search,
    }


def _fit_bayes(
    name: Path, samples: Samples, offered: Sequence[int], options: Options, monitor: Monitor
) -> tuple[SweepResult, dict[int, float]]:
    """The same by variational Bayes, by the numbers of components that are in use."""
    fits, seconds = [], dict[int, float]()
    for most in offered:
        start = time.perf_counter()
        with unheard():
            found = fit_variational(samples.features, most, **_asked(samples, options))
        _expect_finite(np.isfinite(np.asarray(found.lower_bound)), name, options)
        fits.append(fit_of(found, samples.features, samples.weights))
        k, elapsed = fits[-1].mixture.n_components, time.perf_counter() - start
        seconds[k] = max(seconds.get(k, 0.0), elapsed)
        said = f"fitted at most {most} components, {k} in use, in {elapsed:.1f} s"
        monitor.step(said, options.restarts)
    return as_sweep(fits, samples.features, samples.weights), seconds


def _expect_finite(finite: NdArray | np.bool_, name: Path, options: Options) -> None:
    if not np.all(finite):
        wider = "; --dtype float64 may" if options.dtype == "float32" else ""
        raise JobError(
            f"expected values whose squares {options.dtype} can hold, got others{wider}: {name}"
        )
