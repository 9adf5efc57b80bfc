"""The mixture: its parameters, and what is done with components."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import Shown, Table, amend, struct
from jgmm.data.frame import Frame
from jgmm.data.origin import less, near_origin
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.distributions import STUDENT_T, distribution_of
from jgmm.families.family import Family
from jgmm.families.kernels import Kernel
from jgmm.families.table import inferred, named
from jgmm.mixture import shown, validation

P = TypeVar("P", bound=Any)  # means and covariances of a family


@struct
class Mixture(Shown):
    """A mixture of K Gaussians, or of K Student's t, in D dimensions.

    The covariances are of one family: full [K, D, D], tied [1, D, D], diag [K, D] (variances),
    spherical [K, 1], or another of those in experiments/FAMILIES.md. It is told from their shape;
    where that fits several (one component, one feature; VEV and full), ``family`` can be named. A
    component of weight 0 is unused.

    Lists become arrays. What is no mixture (negative variances, weights that do not sum to 1,
    shapes that do not fit) is refused, but under a trace, where shapes alone are known.

    With ``degrees_of_freedom`` the components are Student's t of so many (Peel and McLachlan 2000),
    and ``covariances`` are their scale matrices Σ: the covariance of a component is ν/(ν - 2) Σ for
    ν > 2, and there is none for others. See experiments/STUDENT.md.

    The family is a part of the structure of the pytree. In `jax.vmap` say which leaves are mapped
    by ``dataclasses.replace(mixture, weights=None, means=0, covariances=None)``.

    Attributes:
        weights: shares of the components [K], which sum to 1.
        means: [K, D].
        covariances: [K, D, D], [1, D, D], [K, D], [K, 1], [1, D] or [1, 1].
        family: of the covariances; static.
        distribution: of a component, "gaussian" or "student_t"; static.
        degrees_of_freedom: of Student-t components [K], a number for all where a caller makes it;
            None of Gaussians.

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture(
        ...     weights=[0.25, 0.75], means=[[0, 0], [4, 4]], covariances=[[1.0], [1.0]]
        ... )
        >>> mixture.n_components, mixture.n_features, mixture.covariance_type
        (2, 2, 'spherical')
        >>> mixture
        Mixture of 2 spherical components in 2 dimensions
          component  weight  mean 0  mean 1
                  0    0.25       0       0
                  1    0.75       4       4
    """

    weights: Array  # [K], sum 1
    means: Array  # [K, D]
    covariances: Array  # [K, D, D], [1, D, D], [K, D], [K, 1], [1, D] or [1, 1]
    family: Family = None  # type: ignore[assignment]  # static; a name, or inferred if left out
    distribution: Distribution = GAUSSIAN  # static; a name, or told from the degrees of freedom
    degrees_of_freedom: Array | None = None  # [K]

    def __post_init__(self) -> None:
        """Find the family, where it was left out and there are shapes to tell it from."""
        family: Any = self.family
        if family is None and all(map(_has_shape, (self.means, self.covariances))):
            family = inferred(self.covariances.shape, self.n_components, self.n_features)
        elif isinstance(family, str):
            family = named(family, getattr(self.covariances, "shape", ()))
        object.__setattr__(self, "family", family)
        distribution: Any = self.distribution
        if isinstance(distribution, str):
            distribution = distribution_of(distribution)
        if self.degrees_of_freedom is not None and distribution == GAUSSIAN:
            distribution = STUDENT_T
        object.__setattr__(self, "distribution", distribution)

    def _validate(self) -> None:
        """Look at what a caller made it of."""
        for name in ("weights", "means", "covariances"):
            object.__setattr__(self, name, validation.as_parameter(name, getattr(self, name)))
        object.__setattr__(self, "degrees_of_freedom", validation.as_degrees_of_freedom(self))
        if validation.are_arrays(self):
            self.__post_init__()
            validation.check_shapes(self, batched=True)
            validation.check_values(self)

    def _tables(self) -> tuple[Table]:
        return (self._table(),)

    def _showable(self) -> bool:
        return shown.showable(self)

    def _table(self, *, whole: bool = False) -> Table:
        return shown.component_table(self, f"Mixture of {shown.kind(self)}", whole=whole)

    def summary(self) -> Table:
        """All weights, means and standard deviations, as a table to print."""
        return self._table(whole=True)

    @property
    def n_components(self) -> int:
        """K, unused components included."""
        return int(self.means.shape[-2])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.means.shape[-1])

    @property
    def covariance_type(self) -> str:
        """The name of the covariance family."""
        return self.family.name

    @property
    def block_size(self) -> int:
        """How many samples a pass works on together."""
        return self.family.block_size(self.n_components, self.n_features, self.means.dtype)

    def kernel(self, *, gaps: bool = False) -> Kernel:
        """What a pass over samples needs, with or without features missing."""
        if gaps:
            return self.family.gap_kernel(self.means, self.covariances)
        return self.family.kernel(self.weights, self.means, self.covariances)


def _has_shape(leaf: Any) -> bool:
    return len(getattr(leaf, "shape", ())) >= 2


def log_weights(weights: Array) -> Array:
    """Logarithms of the weights, -inf for 0, with a derivative that is never NaN."""
    used = weights > 0
    return jnp.where(used, jnp.log(jnp.where(used, weights, 1)), -jnp.inf)


def no_growth(mixture: Mixture) -> Array | None:
    """Of degrees of freedom that are estimated, see `Distribution.near`; None where none are."""
    free = mixture.distribution.free(mixture.weights > 0)
    return None if free is None else jnp.zeros(free.shape, mixture.means.dtype)


def conform(mixture: Any, pixels: ArrayLike, *, missing: str = "error") -> tuple[Mixture, Array]:
    """Mixture and checked pixels [..., D] in one floating dtype.

    Both are moved by the same where pixels come with more digits than are kept: see
    `jgmm.data.origin`.
    """
    mixture = checked(mixture)
    incomplete = _checks.one_of("missing", missing, ("error", "nan")) == "nan"
    array, origin = near_origin(pixels, mixture.n_features, missing=incomplete)
    mixture = promoted(amend(mixture, means=less(mixture.means, origin)), array.dtype)
    return mixture, array.astype(mixture.means.dtype)


def promoted(mixture: Mixture, dtype: Any) -> Mixture:
    """The mixture in a floating dtype that holds its own and another."""
    wide = jax.dtypes.canonicalize_dtype(np.promote_types(dtype, mixture.means.dtype))
    cast: Mixture = jax.tree.map(lambda leaf: _checks.as_array(leaf, wide), mixture)
    return cast


class FitLike(Protocol):
    """What holds a mixture, such as the result of a fit."""

    @property
    def mixture(self) -> Mixture:
        """Its mixture."""


def as_mixture(value: Any, name: str = "mixture") -> Mixture:
    """The mixture that a caller means: itself, or that of the result of a fit.

    Raises:
        TypeError: what holds no mixture, or several, or one of other features than a caller has.
    """
    if isinstance(value, Mixture):
        return value
    found = getattr(value, "mixture", None)
    if isinstance(found, Mixture):
        return found
    kind = type(value).__name__
    advice = {
        "Segmentation": "; its mixture, .fit.mixture, is of the features of pixels and not of "
        "their colours: label images with jgmm.apply",
        "SweepResult": "; take result[k] or result.best()",
        "FamiliesResult": "; take result.best()",
    }.get(kind, "")
    raise TypeError(f"{name}: expected a Mixture or the result of a fit, got {kind}{advice}")


def checked(mixture: Any) -> Mixture:
    """The mixture, if the shapes of its parameters fit each other; a ValueError if not."""
    mixture = as_mixture(mixture)
    validation.check_shapes(mixture)
    return mixture


def gaussian(mixture: Any, what: str) -> Mixture:
    """The mixture, if its components are Gaussians, as ``what`` needs; a ValueError if not."""
    mixture = as_mixture(mixture)
    if mixture.distribution != GAUSSIAN:
        raise ValueError(
            f"{what}: expected Gaussian components, got {mixture.distribution.title} ones"
        )
    return mixture


def standardize(mixture: P, frame: Frame) -> P:
    """A mixture of the data, or a posterior of one, as one of the samples in the frame."""
    return amend(
        mixture,
        means=(mixture.means - frame.center) / frame.scale,
        covariances=mixture.family.rescale(mixture.covariances, 1 / frame.scale),
    )


def unstandardize(mixture: P, frame: Frame) -> P:
    """The way back."""
    return amend(
        mixture,
        means=mixture.means * frame.scale + frame.center,
        covariances=mixture.family.rescale(mixture.covariances, frame.scale),
    )
