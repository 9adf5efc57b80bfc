"""Whether a mixture can be computed with: more than that it is one, for what files hold."""

from __future__ import annotations

import numpy as np

from jgmm.mixture.mixture import Mixture
from jgmm.mixture.validation import check_shapes


def sound(mixture: Mixture) -> Mixture:
    """The mixture, if a density can be had of it in its own precision.

    That is: no leading axes; covariances that are positive definite, and not so small that their
    inverses overflow; means whose squares are finite.

    Args:
        mixture: concrete, as `Mixture` accepts it.

    Raises:
        ValueError: which of it does not hold, and what came.

    Example:
        >>> try:
        ...     sound(Mixture(np.ones(1), np.zeros((1, 1)), np.zeros((1, 1))))
        ... except ValueError as error:
        ...     print(error)
        expected variances of at least 2.225e-308, got 0
    """
    check_shapes(mixture)
    means, covariances = np.asarray(mixture.means), np.asarray(mixture.covariances)
    if (weakness := mixture.family.weakness(covariances)) is not None:
        raise ValueError(weakness)
    if mixture.degrees_of_freedom is not None:
        dof = np.asarray(mixture.degrees_of_freedom)
        if not 1e-3 <= dof.min() <= dof.max() <= 1e9:
            raise ValueError(
                f"expected degrees_of_freedom from 0.001 to 1e+09, got {dof.min():.4g} to "
                f"{dof.max():.4g}"
            )
    if (size := np.abs(means).max()) > np.sqrt(np.finfo(means.dtype).max):
        raise ValueError(f"expected means whose squares {means.dtype} can hold, got {size:.4g}")
    return mixture
