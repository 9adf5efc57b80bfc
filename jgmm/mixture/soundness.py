"""Whether parameters from outside make a mixture that can be computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.mixture.mixture import Mixture, checked

NdArray = npt.NDArray[Any]

# More than rounding makes, of weights of thousands of components and of products of matrices.
_SUM, _SYMMETRY = 1e-3, 1e-4


def sound(mixture: Mixture) -> Mixture:
    """The mixture, if a density can be had of it.

    That is: shapes that fit each other; weights of at least 0 that sum to 1; finite means whose
    squares are finite too; covariances that are symmetric, positive definite, and not so small
    that their inverses overflow.

    Args:
        mixture: concrete; NumPy arrays do.

    Raises:
        ValueError: which of it does not hold, and what came.

    Example:
        >>> try:
        ...     sound(Mixture(np.array([0.5, 0.6]), np.zeros((2, 1)), np.ones((2, 1))))
        ... except ValueError as error:
        ...     print(error)
        expected weights that sum to 1, got a sum of 1.1
    """
    for name in ("weights", "means", "covariances"):
        array = np.asarray(getattr(mixture, name))
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"expected {name} in float32 or float64, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected finite {name}, got NaN or infinity")
    if 0 in mixture.means.shape:
        raise ValueError(
            f"expected at least one component and feature, got means {mixture.means.shape}"
        )
    if mixture.family is None:
        raise ValueError(f"expected covariances, got shape {mixture.covariances.shape}")
    checked(mixture)
    weights, means = np.asarray(mixture.weights), np.asarray(mixture.means)
    if weights.min() < 0:
        raise ValueError(f"expected weights of at least 0, got {weights.min():.4g}")
    total = weights.sum(dtype=np.float64)
    if abs(total - 1) > _SUM:
        raise ValueError(f"expected weights that sum to 1, got a sum of {total:.4g}")
    _spread(np.asarray(mixture.covariances), mixture.family.independent)
    if (size := np.abs(means).max()) > np.sqrt(np.finfo(means.dtype).max):
        raise ValueError(f"expected means whose squares {means.dtype} can hold, got {size:.4g}")
    return mixture


def _spread(covariances: NdArray, independent: bool) -> None:
    """Check variances, or matrices."""
    variances = covariances if independent else np.diagonal(covariances, axis1=-2, axis2=-1)
    least = np.finfo(covariances.dtype).tiny
    if variances.min() < least:
        raise ValueError(f"expected variances of at least {least:.4g}, got {variances.min():.4g}")
    if independent:
        return
    deviations = np.sqrt(variances, dtype=np.float64)
    units = deviations[:, :, None] * deviations[:, None, :]
    if (np.abs(covariances - covariances.swapaxes(-1, -2)) > _SYMMETRY * units).any():
        raise ValueError("expected symmetric covariances, got others")
    try:
        np.linalg.cholesky(covariances)  # in their own precision, as they will be used
    except np.linalg.LinAlgError:
        raise ValueError("expected positive definite covariances, got others") from None
