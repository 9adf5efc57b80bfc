"""Mixtures in words and short tables."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm._struct import number, values_known

COMPONENTS, FEATURES = 10, 6  # so many are shown at most


def showable(mixture: Any) -> bool:
    """Whether it is one mixture whose values are known, and no batch, tracer or placeholder."""
    known = values_known((mixture.weights, mixture.means, mixture.covariances))
    return known and mixture.means.ndim == 2 and mixture.weights.ndim == 1


def deviations(mixture: Any) -> npt.NDArray[Any]:
    """The standard deviation of each feature in each component [K, D], on the host."""
    dense = mixture.family.dense(mixture.covariances, *mixture.means.shape)
    variances = np.diagonal(np.asarray(dense), axis1=1, axis2=2)
    found: npt.NDArray[Any] = np.sqrt(np.maximum(variances, 0))
    return found


def kind(mixture: Any) -> str:
    """How many components of which family in how many dimensions."""
    k, d = mixture.means.shape
    used = int(np.count_nonzero(np.asarray(mixture.weights)))
    components = f"{k} {mixture.family.name} component{'s' if k != 1 else ''}"
    unused = f" ({k - used} of weight 0)" if used < k else ""
    return f"{components}{unused} in {d} dimension{'s' if d != 1 else ''}"


def component_table(
    mixture: Any, *, whole: bool = False
) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """Columns, rows and notes: weights and means, and with ``whole`` standard deviations."""
    host = jax.device_get(mixture)
    k, d = host.means.shape
    n_shown = k if whole else min(k, COMPONENTS)
    n_features = d if whole else min(d, FEATURES)
    columns = ["component", "weight", *(f"mean {j}" for j in range(n_features))]
    if whole:
        columns += [f"sd {j}" for j in range(n_features)]
        widths = deviations(host)
    rows = []
    for i in range(n_shown):
        values = [*host.means[i, :n_features]]
        if whole:
            values += [*widths[i]]
        rows.append((str(i), number(host.weights[i]), *map(number, values)))
    notes = []
    if k > n_shown:
        notes.append(f"  and {k - n_shown} more components")
    if d > n_features:
        notes.append(f"  and {d - n_features} more features of each mean")
    return tuple(columns), rows, notes
