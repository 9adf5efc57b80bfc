"""Parameters as scikit-learn has them, and as jgmm does."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import mixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
from sklearn.utils.validation import check_is_fitted

from jgmm._struct import build
from jgmm.families.table import family_of
from jgmm.mixture.mixture import Mixture


def to_mixture(estimator: mixture.GaussianMixture) -> Mixture:
    """The `jgmm.Mixture` of a fitted estimator, scikit-learn's or jgmm's, in its precision.

    Example:
        >>> import jgmm.sklearn, numpy as np
        >>> x = np.array([[0.0], [1], [2], [10], [11], [12]])
        >>> fitted = jgmm.sklearn.GaussianMixture(2, random_state=0).fit(x)
        >>> jgmm.sklearn.to_mixture(fitted).weights
        array([0.5, 0.5])
    """
    if not isinstance(estimator, mixture.GaussianMixture):
        kind = type(estimator)
        raise TypeError(
            "estimator: expected a fitted GaussianMixture, of scikit-learn or jgmm, got "
            f"{kind.__module__}.{kind.__qualname__}"
        )
    check_is_fitted(estimator)
    return build(
        Mixture,
        weights=estimator.weights_,
        means=estimator.means_,
        covariances=as_jgmm(estimator.covariances_, estimator.covariance_type),
        family=family_of(estimator.covariance_type),
    )


def factorise(covariances: Any, covariance_type: str) -> Any:
    """Cholesky factors of the precisions; scikit-learn's ValueError where there are none."""
    wide = np.asarray(as_sklearn(covariances, covariance_type), np.float64)
    return _compute_precision_cholesky(wide, covariance_type)


def as_sklearn(covariances: Any, covariance_type: str) -> Any:
    """Without the axis that components or features share."""
    family = family_of(covariance_type)
    if family.shared:
        return covariances[0]
    return covariances[:, 0] if family.isotropic else covariances


def as_jgmm(covariances: Any, covariance_type: str) -> Any:
    """With the axis that components or features share."""
    family, array = family_of(covariance_type), np.asarray(covariances)
    if family.shared:
        return array[None]
    return array[:, None] if family.isotropic else array
