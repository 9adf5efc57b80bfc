"""`sweep_families`: numbers of components and covariance families compared by one criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import unheard, warn_of_status
from jgmm._struct import struct
from jgmm.em.result import FitResult
from jgmm.families.table import families_of, family_of
from jgmm.fitting.delivery import cannot_converge
from jgmm.fitting.sweeps import CRITERIA, SweepResult, sweep


@struct
class FamiliesResult:
    """The result of `sweep_families`.

    Attributes:
        sweeps: the `SweepResult` of each family, by its name.
    """

    sweeps: Mapping[str, SweepResult]

    def __repr__(self) -> str:
        """The tables of all families."""
        return "\n".join(map(repr, self.sweeps.values()))

    def _repr_html_(self) -> str:
        """The same for Jupyter."""
        return "".join(result._repr_html_() or "" for result in self.sweeps.values())

    def __getitem__(self, covariance_type: str) -> SweepResult:
        """The sweep of one family, by any of its names."""
        if covariance_type in self.sweeps:
            return self.sweeps[covariance_type]
        return self.sweeps[family_of(covariance_type).name]

    def curves(self, criterion: str = "bic") -> dict[str, Array]:
        """The "bic", "aic" or "icl" [S, R] of each family, as `jgmm.plot.criteria` takes them."""
        _checks.one_of("criterion", criterion, CRITERIA)
        return {name: getattr(result, criterion) for name, result in self.sweeps.items()}

    @property
    def n_components(self) -> Array:
        """The numbers of components [S], the same for all families."""
        return next(iter(self.sweeps.values())).n_components

    def best(self, criterion: str = "bic") -> FitResult:
        """The fit with the least "bic", "aic" or "icl" of all families and numbers."""
        _checks.one_of("criterion", criterion, CRITERIA)

        def least(result: SweepResult) -> float:
            values = np.asarray(getattr(result, criterion))
            return float(np.min(np.where(np.isfinite(values), values, np.inf)))

        return min(self.sweeps.values(), key=least).best(criterion)


def sweep_families(
    pixels: ArrayLike,
    ks: Sequence[int],
    covariance_types: Sequence[str] | str = ("full", "tied", "diag", "spherical"),
    **options: Any,
) -> FamiliesResult:
    """`sweep` over covariance families as well.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        ks: the different numbers of components.
        covariance_types: the families, such as "VEV" and "factor(3)", or "mclust" for all fourteen
            that it has (of one feature, the two that differ there).
        **options: what else `sweep` takes.

    Returns:
        The sweeps; ``result["diag"]`` is that of one family and ``result.best()`` the fit that
        BIC chooses of all.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: no, repeated or unknown families, and what `sweep` raises.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> result = jgmm.sweep_families(pixels, [1, 2], ["full", "spherical"])
        >>> result.best().mixture.covariances.shape
        (1, 1)
    """
    n_features = np.shape(pixels)[-1] if np.ndim(pixels) else 0
    families = families_of(covariance_types, n_features)
    with unheard():
        sweeps = {
            name: sweep(pixels, ks, covariance_type=family, **options)
            for name, family in families.items()
        }
    if all(_checks.all_concrete(result) for result in sweeps.values()):
        statuses = np.concatenate([result.statuses() for result in sweeps.values()])
        asked = {"max_iter": options.get("max_iter"), "tol": options.get("tol", 1.0)}
        warn_of_status(statuses, on_purpose=cannot_converge(asked))
    return FamiliesResult(sweeps=sweeps)
