"""Mixtures in words and short tables."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm._struct import Table, number, values_known

COMPONENTS, FEATURES = 10, 6  # so many are shown at most


def showable(mixture: Any) -> bool:
    """Whether it is one mixture whose values are known, and no batch, tracer or placeholder."""
    known = values_known(mixture)
    return known and mixture.means.ndim == 2 and mixture.weights.ndim == 1


def deviations(mixture: Any) -> npt.NDArray[Any]:
    """The standard deviation of each feature in each component [K, D], on the host.

    Infinite where tails are so heavy that there is none.
    """
    variances = np.asarray(mixture.family.variances(mixture.covariances, *mixture.means.shape))
    found: npt.NDArray[Any] = np.sqrt(np.maximum(variances, 0))
    return found * spreads(mixture)[:, None]


def spreads(mixture: Any) -> npt.NDArray[Any]:
    """The standard deviations of components in units of their ``covariances``' [K], on the host."""
    k = mixture.means.shape[0]
    dof = mixture.degrees_of_freedom
    logs = mixture.distribution.log_spread(None if dof is None else np.asarray(dof))
    found: npt.NDArray[Any] = np.broadcast_to(np.exp(np.asarray(logs) / 2), (k,))
    return found.astype(mixture.means.dtype)


def kind(mixture: Any) -> str:
    """How many components of which family in how many dimensions."""
    k, d = mixture.means.shape
    used = int(np.count_nonzero(np.asarray(mixture.weights)))
    names = f"{mixture.family.name} {mixture.distribution.title}".rstrip()
    components = f"{k} {names} component{'s' if k != 1 else ''}"
    unused = f" ({k - used} of weight 0)" if used < k else ""
    return f"{components}{unused} in {d} dimension{'s' if d != 1 else ''}"


def component_table(mixture: Any, title: str = "", *, whole: bool = False) -> Table:
    """Weights and means, and with ``whole`` standard deviations."""
    host = jax.device_get(mixture)
    k, d = host.means.shape
    n_shown = k if whole else min(k, COMPONENTS)
    n_features = d if whole else min(d, FEATURES)
    dof = host.degrees_of_freedom
    columns = ["component", "weight", *(f"mean {j}" for j in range(n_features))]
    if dof is not None:
        columns.insert(2, "df")
    if whole:
        columns += [f"sd {j}" for j in range(n_features)]
        widths = deviations(host)
    rows = []
    for i in range(n_shown):
        values = [*([] if dof is None else [dof[i]]), *host.means[i, :n_features]]
        if whole:
            values += [*widths[i]]
        rows.append((str(i), number(host.weights[i]), *map(number, values)))
    notes = []
    if k > n_shown:
        notes.append(f"  and {k - n_shown} more components")
    if d > n_features:
        notes.append(f"  and {d - n_features} more features of each mean")
    swatches = colours(host.means)[:n_shown]
    return Table(title, columns, rows, notes, swatches, "as RGB" if swatches else "")


def colours(means: npt.NDArray[Any]) -> list[str]:
    """Means [K, 3] as colours, in hex, if they may be red, green and blue; else nothing.

    They may if they are in [0, 1], as `jgmm.segment` has them, or in [0, 255].

    Example:
        >>> colours(np.array([[1.0, 0.5, 0.0]])), colours(np.array([[1.0, -0.5, 0.0]]))
        (['#ff8000'], [])
    """
    if means.ndim != 2 or means.shape[1] != 3 or not np.isfinite(means).all():
        return []
    low, high = means.min(initial=0), means.max(initial=0)
    if low < 0 or high > 255:
        return []
    codes = np.rint(means * (255 if high <= 1 else 1)).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in codes.tolist()]
