"""What a caller gives as a prior of `fit_variational`, read and checked."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.arrays import module_of
from jgmm.data.origin import Origin, less


def above(
    name: str, value: ArrayLike | None, default: float, dtype: Any, least: float = 0.0
) -> Array:
    """A number above ``least``."""
    if value is None:
        value = default
    number = _checks.as_nonnegative(name, value, dtype)
    if number.shape != ():
        raise ValueError(f"{name}: expected a number, got shape {number.shape}")
    if _checks.is_concrete(number) and not float(number) > least:
        raise ValueError(f"{name}: expected a number above {least:g}, got {float(number):g}")
    return number


def as_mean(
    name: str, mean: ArrayLike | None, d: int, dtype: Any, origin: Origin | None
) -> Array | None:
    """A place [D], as seen from an origin."""
    if mean is None:
        return None
    array: Any = mean if isinstance(mean, jax.Array) else np.asarray(mean, np.float64)
    if array.shape != (d,):
        raise ValueError(f"{name}: expected shape ({d},), got {array.shape}")
    if _checks.is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return _checks.as_array(less(array, origin), dtype)


def as_scale(name: str, scale: ArrayLike | None, d: int, dtype: Any) -> Array | None:
    """A number, variances or a matrix as a matrix [D, D]."""
    if scale is None:
        return None
    array: Any = scale if isinstance(scale, jax.Array) else np.asarray(scale, np.float64)
    if array.shape not in ((), (d,), (d, d)):
        raise ValueError(
            f"{name}: expected a number, ({d},) or ({d}, {d}), got shape {array.shape}"
        )
    xp = module_of(array)
    matrix = array if array.ndim == 2 else array * xp.eye(d, dtype=array.dtype)
    if _checks.is_concrete(matrix):
        host = np.asarray(matrix, np.float64)
        symmetric = np.allclose(host, host.T, rtol=1e-5, atol=0)
        if not (np.isfinite(host).all() and symmetric and np.linalg.eigvalsh(host)[0] > 0):
            raise ValueError(f"{name}: expected a positive definite matrix, got another")
    return _checks.as_array(matrix, dtype)
