"""How an iteration ended, as a value: one bad lane of a vmap must not hurt the others."""

from __future__ import annotations

import enum

import numpy as np
from jax import Array

from jgmm import _checks
from jgmm._warnings import FitWarning, warn


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
    if not _checks.is_concrete(status):
        raise TypeError(
            "raise_for_status: expected values, got a tracer; return the status from the program "
            "and look at it outside"
        )
    message = _message(np.asarray(status))
    if message is not None:
        raise RuntimeError(message)


def warn_of_status(status: Array | np.ndarray, *, on_purpose: bool = False) -> None:
    """Warn once of statuses other than CONVERGED; not under a trace, which has no values.

    Args:
        status: one or several.
        on_purpose: that a fit stopped at its last step is what the caller asked for.
    """
    if not _checks.is_concrete(status) or _checks.in_program():
        return
    codes = np.asarray(status)
    if on_purpose:
        codes = np.where(codes == Status.MAX_ITER, Status.CONVERGED, codes)
    message = _message(codes)
    if message is not None:
        warn(message, FitWarning)


def _message(status: np.ndarray) -> str | None:
    """What to say of statuses; None if all converged."""
    codes, counts = np.unique(status, return_counts=True)
    found = [Status(int(code)) for code in codes]
    if set(found) <= {Status.CONVERGED}:
        return None
    advice = "; ".join(
        (f"for {s.name} " if len(found) > 1 else "") + _ADVICE[s] for s in found if s in _ADVICE
    )
    if status.size == 1:
        return f"the fit ended with status {found[0].name}: {advice}"
    tally = ", ".join(f"{n} {s.name}" for n, s in zip(counts, found, strict=True))
    return f"not all fits converged: {tally}; {advice}"
