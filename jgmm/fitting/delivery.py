"""What a fit owes its caller outside of traces: to be interruptible, and a word if need be."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import warn_of_status
from jgmm.data.interruptible import interruptible
from jgmm.em.result import FitResult
from jgmm.fitting.choices import Choices
from jgmm.fitting.dispatch import fit_best
from jgmm.fitting.options import read
from jgmm.fitting.progress import shown
from jgmm.fitting.resuming import fit_kept

P = ParamSpec("P")


class Ended(Protocol):
    """A result that says how the fit ended."""

    @property
    def status(self) -> Array:
        """A `Status`."""


E = TypeVar("E", bound=Ended)


def fit_one(
    pixels: ArrayLike,
    k: int,
    choices: Choices,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 1,
) -> FitResult:
    """The best fit of k components, as a caller of `fit` chose it."""
    if checkpoint is None:
        request = read(pixels, (k,), choices, spread=True)
        return request.delivered(fit_best(request))
    if _checks.in_program() or not _checks.all_concrete((pixels, vars(choices))):
        raise TypeError("checkpoint: expected None under a trace, which writes no files")
    every = _checks.as_count("every", every)
    request = read(pixels, (k,), choices, spread=True)
    return request.delivered(fit_kept(request, choices, checkpoint, every))


def told(fit: Callable[P, E]) -> Callable[P, E]:
    """``fit``, which an interrupt ends at once, and which warns where it did not converge."""
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def told_fit(*args: P.args, **kwargs: P.kwargs) -> E:
        if not _checks.all_concrete((args, kwargs)):
            return fit(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        with shown(bound.arguments.get("progress", False)):
            result = interruptible(lambda: fit(*args, **kwargs))
        warn_of_status(result.status, on_purpose=cannot_converge(bound.arguments))
        return result

    return told_fit


def cannot_converge(options: Mapping[str, Any]) -> bool:
    """Whether options of a fit ask for so many steps, and not for convergence."""
    if options.get("batch_size") is not None and options.get("polish") is None:
        return True  # values of different batches do not compare
    no_steps = 0 in (options.get("max_iter"), options.get("n_steps"))
    return no_steps or _checks.is_zero(options["tol"])
