"""What callers of fits may choose, and what of it is checked whatever the samples are."""

from __future__ import annotations

import dataclasses

from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.em.prior import Prior, expect_prior
from jgmm.families.family import Family
from jgmm.mixture.mixture import FitLike, Mixture
from jgmm.solvers.stages import Stage

SEARCHES = ("best", "none")
MISSING = ("error", "nan")


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
class Checked:
    """What of `Choices` has no need of the samples."""

    key: Array
    n_restarts: int
    max_iter: int
    incomplete: bool  # whether features that are NaN were not observed
    searching: bool  # for a better optimum than one start leads to
    by_weight: bool  # whether components are to be in order of decreasing weight

    def expect_starts(self, by_name: bool) -> None:
        """Refuse several starts where there is one, as of an init that does not depend on a key."""
        if self.n_restarts > 1 and not by_name:
            raise ValueError(
                f"n_restarts: expected 1 with an init that is given, got {self.n_restarts}, which "
                "would do nothing: all would be the same fit"
            )


def checked(choices: Choices) -> Checked:
    """Check what can be checked before the samples are looked at.

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
    expect_prior(choices.prior)
    key = _checks.as_key(choices.key)
    if key.shape != ():
        raise ValueError(f"key: expected one key, got shape {key.shape}")
    return Checked(
        key=key,
        n_restarts=n_restarts,
        max_iter=max_iter,
        incomplete=_checks.one_of("missing", choices.missing, MISSING) == "nan",
        searching=_checks.one_of("search", choices.search, SEARCHES) == "best",
        by_weight=choices.order is not None,
    )
