"""How an iteration ended, as a value, and what is warned of, at the line of the caller.

One bad fit of a vmap must not hurt the others: so a status is a value first.
"""

from __future__ import annotations

import contextlib
import contextvars
import enum
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import FrameType

import jax
import numpy as np
from jax import Array

_SCALAR = np.zeros((), np.float32)
_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
# The caller, where the work is done in a thread, whose stack does not have it.
_caller: contextvars.ContextVar[FrameType | None] = contextvars.ContextVar("caller", default=None)
_unheard: contextvars.ContextVar[bool] = contextvars.ContextVar("unheard", default=False)


def in_program() -> bool:
    """Whether what is computed now becomes part of a program that is being traced."""
    return isinstance(jax.device_put(_SCALAR), jax.core.Tracer)


class Status(enum.IntEnum):
    """How a fit ended. Results carry it as an int32 array.

    Example:
        >>> import jgmm
        >>> jgmm.Status(0).name
        'CONVERGED'
    """

    CONVERGED = 0
    """The last steps gained less than ``tol``."""
    MAX_ITER = 1
    """Stopped at ``max_iter`` steps."""
    NONFINITE = 2
    """The likelihood of the start is not a finite number: NaN in the data, or no weight at all."""
    DEGENERATE = 3
    """Finite, but not k components: the data have too few distinct samples for them, or a
    covariance became singular, because ``reg_covar`` is 0 or the data are so small, or large, that
    the dtype cannot hold their variances."""


class FitWarning(UserWarning):
    """A fit that did not converge, or that has not the components it was asked for.

    The status of the result says the same as a value. To hear nothing of it:
    ``warnings.filterwarnings("ignore", category=jgmm.FitWarning)``.

    Example:
        >>> import pytest, jgmm
        >>> with pytest.warns(jgmm.FitWarning, match="MAX_ITER"):
        ...     pixels = [[0.0], [1.0], [5.0], [7.0]]
        ...     result = jgmm.fit(pixels, 2, max_iter=1, tol=1e-9, search="none")
    """


class PrecisionWarning(UserWarning):
    """Data of float64 that are worked on in float32, because JAX is set up so."""


_ADVICE = {
    Status.MAX_ITER: "raise max_iter, or tol if a gain of so little does not matter",
    Status.NONFINITE: "look for NaN, infinite or huge values among the pixels, and for "
    "weights that are all 0; missing='nan' takes NaN for missing; or reg_covar is 0, and a "
    "component of the start has no spread",
    Status.DEGENERATE: "ask for fewer components (the data may have fewer distinct samples), "
    "raise reg_covar, take prior='weak', or scale data whose squares the dtype cannot hold",
}


def raise_for_status(status: Array | np.ndarray) -> None:
    """Raise a RuntimeError that names the statuses other than CONVERGED, if there are any."""
    if isinstance(status, jax.core.Tracer):
        raise TypeError(
            "raise_for_status: expected values, got a tracer; return the status from the program "
            "and look at it outside"
        )
    message = _message(np.asarray(status))
    if message is not None:
        raise RuntimeError(message)


def warn_of_status(
    status: Array | np.ndarray, *, on_purpose: bool = False, unsettled: str | None = None
) -> None:
    """Warn once of statuses other than CONVERGED; not under a trace, which has no values.

    Args:
        status: one or several.
        on_purpose: that a fit stopped at its last step is what the caller asked for.
        unsettled: what to advise where it did, and more steps are asked for otherwise than usual.
    """
    # Not asked of the status, which may lie on devices of other processes.
    if isinstance(status, jax.core.Tracer) or in_program():
        return
    codes = np.asarray(status)
    if on_purpose:
        codes = np.where(codes == Status.MAX_ITER, Status.CONVERGED, codes)
    other = {} if unsettled is None else {Status.MAX_ITER: unsettled}
    message = _message(codes, _ADVICE | other)
    if message is not None:
        warn(message, FitWarning)


def _message(status: np.ndarray, advice_for: Mapping[Status, str] = _ADVICE) -> str | None:
    """What to say of statuses; None if all converged."""
    codes, counts = np.unique(status, return_counts=True)
    found = [Status(int(code)) for code in codes]
    if set(found) <= {Status.CONVERGED}:
        return None
    advice = "; ".join(
        (f"for {s.name} " if len(found) > 1 else "") + advice_for[s]
        for s in found
        if s in advice_for
    )
    if status.size == 1:
        return f"the fit ended with status {found[0].name}: {advice}"
    tally = ", ".join(f"{n} {s.name}" for n, s in zip(counts, found, strict=True))
    return f"not all fits converged: {tally}; {advice}"


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside of this package that called into it."""
    if _unheard.get():
        return
    frame = _caller.get() or outside(sys._getframe(1))
    if frame is None:
        warnings.warn(message, category, stacklevel=2)
        return
    module = frame.f_globals.get("__name__", "<unknown>")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(
        message, category, frame.f_code.co_filename, frame.f_lineno, module, registry
    )


def outside(frame: FrameType | None) -> FrameType | None:
    """The nearest frame that is not of this package, from one on outwards."""
    while frame is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame = frame.f_back
    return frame


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Warn of nothing: for parts of a work that says itself how it ended."""
    token = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(token)


def called_from(frame: FrameType | None) -> None:
    """Let what is warned of in this context be of that frame."""
    _caller.set(frame)
