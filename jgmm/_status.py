"""How an iteration ended, as a value: one bad lane of a vmap must not hurt the others."""

from __future__ import annotations

import enum

import numpy as np
from jax import Array


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
    covariance became singular because ``reg_covar`` is 0."""


def raise_for_status(status: Array) -> None:
    """Raise a RuntimeError that names the statuses other than CONVERGED, if there are any."""
    codes, counts = np.unique(np.asarray(status), return_counts=True)
    if set(codes.tolist()) <= {Status.CONVERGED}:
        return
    if codes.size == 1 and counts[0] == 1:
        raise RuntimeError(f"the fit ended with status {Status(int(codes[0])).name}")
    tally = ", ".join(f"{n} {Status(int(c)).name}" for c, n in zip(codes, counts, strict=True))
    raise RuntimeError(f"not all fits converged: {tally}")
