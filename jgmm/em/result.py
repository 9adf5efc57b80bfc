"""The result of a fit."""

from __future__ import annotations

from jax import Array

from jgmm._status import raise_for_status
from jgmm._struct import struct
from jgmm.mixture.mixture import Mixture


@struct
class FitResult:
    """The result of `fit`: the best mixture met, and the way there.

    Log-likelihoods and objectives are means in nats per (weighted) pixel, in the units of the
    data. The objective is what was maximised: the log-likelihood, or with a prior the logarithm
    of the posterior density up to a constant.
    """

    mixture: Mixture
    log_likelihood: Array  # [], of this mixture
    objective: Array  # [], of this mixture; restarts are compared by it
    history: Array  # [max_iter + 1], the objective of the start and after every step; then NaN
    n_iter: Array  # [], steps taken, each a pass over all pixels
    status: Array  # [], a `Status`

    def raise_for_status(self) -> None:
        """Raise a RuntimeError unless converged."""
        raise_for_status(self.status)
