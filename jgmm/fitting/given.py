"""What a caller gives to start from, read and checked: a name, a mixture, means, labels, shares."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.arrays import lengthened
from jgmm.data.origin import Origin, less
from jgmm.em.problem import Problem
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.family import Family
from jgmm.families.table import inferred
from jgmm.fitting.starts import STARTS, from_labels, from_means, from_responsibilities
from jgmm.mixture.components import pad
from jgmm.mixture.mixture import FitLike, Mixture, as_mixture


@dataclasses.dataclass(frozen=True)
class Given:
    """What a caller means by ``init``."""

    kind: str  # a name in STARTS, mixture, means, labels or responsibilities
    value: Mixture | Array | None = None  # the mixture, or the means [K, D]
    hints: Array | None = None  # labels [N] or responsibilities [N, K]

    @property
    def by_name(self) -> bool:
        """Whether it depends on a key."""
        return self.kind in STARTS

    def padded(self, k: int) -> Given:
        """For ``k`` components, those behind not used."""
        if isinstance(self.value, Mixture) and self.value.n_components < k:
            return dataclasses.replace(self, value=pad(jax.device_get(self.value), k))
        if self.value is None or isinstance(self.value, Mixture) or len(self.value) == k:
            return self
        return dataclasses.replace(self, value=lengthened(np.asarray(self.value), k))


def of_given(problem: Problem, used: Array, kind: str, value: Mixture | Array | None) -> Mixture:
    """The start that a caller gave, in the frame."""
    if isinstance(value, Mixture):
        return of_mixture(problem, value)
    if value is not None:
        start = from_means(problem, (value - problem.frame.center) / problem.frame.scale, used)
    elif kind == "labels":
        start = from_labels(problem, used)
    else:
        start = from_responsibilities(problem, used)
    return problem.distributed(start)


def of_mixture(problem: Problem[Any], mixture: Mixture) -> Mixture:
    """A mixture that a caller gave to start from, in the frame."""
    start = problem.standardize(_of_family(mixture, problem.family))
    return _of_distribution(start, problem)


def read(
    init: str | Mixture | FitLike | ArrayLike,
    k: int,
    shape: tuple[int, ...],
    family: Family,
    dtype: Any,
    origin: Origin | None = None,
    distribution: Distribution = GAUSSIAN,
) -> Given:
    """What a caller means by ``init``, for pixels of ``shape`` [..., D] near an ``origin``.

    Raises:
        TypeError: of no kind that can be a start.
        ValueError: an unknown name, a shape that does not fit, labels beyond k.
    """
    if isinstance(init, str):
        return Given(_checks.one_of("init", init, STARTS))
    if dataclasses.is_dataclass(init):
        mixture = as_mixture(init, "init")
        mixture = amend(mixture, means=less(mixture.means, origin))
        return Given("mixture", _conform(mixture, k, shape[-1], family, dtype, distribution))
    array: Any = init if isinstance(init, jax.Array) else np.asarray(init)
    n = int(np.prod(shape[:-1]))
    if jnp.issubdtype(array.dtype, jnp.integer) and array.shape in (shape[:-1], (n,)):
        return Given("labels", hints=as_labels("init", array, k, shape))
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if real and array.shape == (k, shape[-1]):
        return Given("means", _finite(_checks.as_array(less(array, origin), dtype)))
    if jnp.issubdtype(array.dtype, jnp.floating) and array.shape in ((*shape[:-1], k), (n, k)):
        rows = _checks.as_nonnegative("init", array, dtype)
        return Given("responsibilities", hints=rows.reshape(n, k))
    raise ValueError(
        f"init: expected one of {', '.join(STARTS)}, a Mixture, the result of a fit, "
        f"means ({k}, {shape[-1]}), integer labels {shape[:-1]} or responsibilities "
        f"{(*shape[:-1], k)}; got {array.dtype} {array.shape}"
    )


def as_labels(name: str, labels: ArrayLike, k: int, shape: tuple[int, ...]) -> Array:
    """Labels of pixels of ``shape`` [..., D] as int32 [N], from -1 (unknown) to k - 1."""
    array = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    n = int(np.prod(shape[:-1]))
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integer labels, got dtype {array.dtype}")
    if array.shape not in (shape[:-1], (n,)):
        raise ValueError(f"{name}: expected labels of shape {shape[:-1]}, got {array.shape}")
    if _checks.is_concrete(array) and not -1 <= int(array.min()) <= int(array.max()) < k:
        raise ValueError(
            f"{name}: expected labels from -1 (unknown) to {k - 1}, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return _checks.as_array(array.reshape(n)).astype(jnp.int32)


def _finite(means: Array) -> Array:
    if _checks.is_concrete(means) and not bool(np.isfinite(np.asarray(means)).all()):
        raise ValueError("init: expected finite means, got NaN or infinity")
    return means


def _conform(
    init: Mixture, k: int, d: int, family: Family, dtype: Any, distribution: Distribution
) -> Mixture:
    """The warm start in ``dtype``, or a ValueError where it does not fit what is asked for."""
    shapes = (init.weights.shape, init.means.shape, init.covariances.shape)
    expected = ((k,), (k, d), family.shape(k, d))
    # A family that the caller did not name may be another of the same shape.
    alike = shapes == expected and init.family.wide == family.wide
    told = init.family == family or (alike and init.family == inferred(shapes[2], k, d))
    if shapes != expected or not told:
        raise ValueError(
            f"init: expected a {family.name} mixture of weights, means and covariances of "
            f"shapes {expected}, got {init.family.name} {shapes}"
        )
    if init.distribution.shaped and not distribution.shaped:
        raise ValueError(
            f"init: expected a {distribution.name} mixture, got {init.distribution.name}; the "
            f"argument distribution='{init.distribution.name}' fits such"
        )
    if not family.restrained:
        init = amend(init, family=family)
    return jax.tree.map(lambda leaf: _checks.as_array(leaf, dtype), init)


def _of_family(mixture: Mixture, family: Family) -> Mixture:
    """The mixture as one of a family that stores its covariances as it does."""
    if mixture.family == family:
        return mixture
    near = family.member(mixture.covariances, mixture.weights)
    return amend(mixture, covariances=near, family=family)


def _of_distribution(start: Mixture, problem: Problem[Any]) -> Mixture:
    """The mixture with components as the problem has them; what it says of their shapes stays."""
    distribution, dof = problem.distribution, start.degrees_of_freedom
    if dof is None or not distribution.estimated:
        return problem.distributed(start)
    return amend(
        start, distribution=distribution, degrees_of_freedom=distribution.pooled(dof, start.weights)
    )
