"""Samples that are brought near the origin before they are cast to float32.

float32 has seven digits. Far from the origin they go into the offset, and none are left for what
the samples differ by; so the offset is subtracted while they still have float64's sixteen. It is
done on the host, where it takes no program of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks

Origin = npt.NDArray[np.float64]  # [D], of values that float32 has


def near_origin(
    pixels: ArrayLike, n_features: int | None = None, *, missing: bool = False
) -> tuple[Array, Origin | None]:
    """Checked pixels [..., D], less an origin where they come with more digits than are kept.

    Args:
        pixels: see `jgmm._checks.as_pixels`.
        n_features: D, if it is known.
        missing: whether NaN is let through.

    Returns:
        The pixels in the dtype that they are worked on in, and the origin; None for no origin.
    """
    array, dtype = _checks.read_pixels(pixels, n_features, missing=missing)
    wide = isinstance(array, np.ndarray) and array.dtype.itemsize > max(dtype.itemsize, 2)
    if isinstance(array, np.ndarray) and array.dtype.kind in "iu":
        wide = array.dtype.itemsize >= dtype.itemsize
    if not wide or dtype.itemsize > 4:
        return _checks.as_array(array, dtype), None
    flat = array.reshape(-1, array.shape[-1])
    with np.errstate(all="ignore"):
        total = np.nansum(flat, axis=0, dtype=np.float64)
        center = total / np.maximum(np.sum(~np.isnan(flat), axis=0), 1)
        origin = np.asarray(center, np.float32).astype(np.float64)
        origin = np.where(np.isfinite(origin), origin, 0)
        moved: Any = np.empty(array.shape, dtype)
        np.subtract(array, origin, out=moved, casting="unsafe", dtype=np.float64)
    return _checks.as_array(moved), origin


def less(means: Any, origin: Origin | None) -> Any:
    """Places [..., D] as seen from an origin; in float64 where they are on the host."""
    return _shifted(means, origin, -1)


def plus(means: Any, origin: Origin | None) -> Any:
    """The way back."""
    return _shifted(means, origin, 1)


def _shifted(means: Any, origin: Origin | None, sign: int) -> Any:
    if origin is None:
        return means
    dtype = jax.dtypes.canonicalize_dtype(means.dtype)
    if _checks.is_concrete(means):
        moved = np.asarray(jax.device_get(means), np.float64) + sign * origin
        return _checks.as_array(moved.astype(dtype))
    return means + _checks.as_array(sign * origin, dtype)
