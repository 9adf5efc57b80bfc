"""What a mixture that a caller makes has to be. Its parameters are duck-typed: see `Mixture`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm import _checks

_NAMES = ("weights", "means", "covariances")
_SUM = 2e-3  # so far from 1 weights may sum, which people write with few digits
_APART = 1e-3  # so far covariances may be from those that share what their family shares


def as_parameter(name: str, value: Any) -> Any:
    """A parameter as a caller may write it: lists become arrays, integers floating point."""
    if isinstance(value, list | tuple):
        try:
            value = np.asarray(value)
        except ValueError:
            raise ValueError(f"mixture: expected {name} of one shape, got a ragged list") from None
        if value.dtype.kind not in "iuf":
            raise TypeError(f"mixture: expected {name} of numbers, got {value.dtype}")
        return _checks.as_array(value, jnp.result_type(float))
    if isinstance(value, np.ndarray | jax.Array) and jnp.issubdtype(value.dtype, jnp.integer):
        return value.astype(jnp.result_type(float))
    return value


def as_degrees_of_freedom(mixture: Any) -> Any:
    """The degrees of freedom as a caller may write them; one number is that of all components."""
    value = mixture.degrees_of_freedom
    if isinstance(value, bool | str):
        raise TypeError(f"mixture: expected degrees_of_freedom of numbers, got {value!r}")
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0 and _checks.is_concrete(value):
        value = value.item()
    if isinstance(value, int | float | np.generic) and are_arrays(mixture):
        shape, dtype = mixture.means.shape[:-1], mixture.means.dtype
        value = _checks.as_array(np.full(shape, value, dtype), dtype)
    return as_parameter("degrees_of_freedom", value)


def check_shapes(mixture: Any, *, batched: bool = False) -> None:
    """Raise a ValueError where the shapes of the parameters do not fit each other.

    Args:
        mixture: what to look at.
        batched: any of them may have leading axes, as for a vmap.
    """
    shape = mixture.means.shape
    if len(shape) < 2 or (len(shape) > 2 and not batched):
        raise ValueError(f"mixture: expected means [K, D], got shape {shape}")
    k, d = shape[-2:]
    if k < 1 or d < 1:
        raise ValueError(f"mixture: expected at least one component and feature, got means {shape}")
    if mixture.family is None:
        raise ValueError(f"mixture: expected covariances, got shape {mixture.covariances.shape}")
    expected = mixture.family.shape(k, d)
    weights, covariances = mixture.weights.shape, mixture.covariances.shape
    if batched:
        weights, covariances = weights[-1:], covariances[-len(expected) :]
    if weights != (k,):
        raise ValueError(f"mixture: expected weights ({k},), got {mixture.weights.shape}")
    if covariances != expected:
        raise ValueError(
            f"mixture: expected {mixture.family.name} covariances {expected}, "
            f"got {mixture.covariances.shape}"
        )
    _check_distribution(mixture, k)


def _check_distribution(mixture: Any, k: int) -> None:
    """Raise a ValueError where the degrees of freedom do not suit the distribution."""
    distribution, dof = mixture.distribution, mixture.degrees_of_freedom
    if distribution.shaped != (dof is not None):
        expected = "expected" if distribution.shaped else "expected no"
        got = "got none" if dof is None else "got some"
        raise ValueError(f"mixture: {expected} degrees_of_freedom of {distribution.name}, {got}")
    if dof is not None and dof.shape[-1:] != (k,):
        raise ValueError(f"mixture: expected degrees_of_freedom ({k},), got {dof.shape}")


def are_arrays(mixture: Any) -> bool:
    """Whether all parameters are arrays: they may be placeholders, such as axes for a vmap."""
    return all(isinstance(getattr(mixture, name), np.ndarray | jax.Array) for name in _NAMES)


def _parts(mixture: Any) -> dict[str, Any]:
    parts = {name: getattr(mixture, name) for name in _NAMES}
    if mixture.degrees_of_freedom is not None:
        parts["degrees_of_freedom"] = mixture.degrees_of_freedom
    return parts


def check_values(mixture: Any) -> None:
    """Raise a ValueError where the parameters are of no mixture. Nothing is said of tracers."""
    parts = _parts(mixture)
    for name, array in parts.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"mixture: expected {name} of floating point, got {array.dtype}")
    if not _checks.all_concrete(tuple(parts.values())):
        return
    if not all(getattr(array, "is_fully_addressable", True) for array in parts.values()):
        return  # other processes have the rest
    host = {n: np.asarray(a, np.float64) for n, a in jax.device_get(parts).items()}
    for name, array in host.items():
        if not np.isfinite(array).all():
            raise ValueError(f"mixture: expected finite {name}, got NaN or infinity")
    weights = host["weights"]
    if (weights < 0).any():
        raise ValueError(f"mixture: expected weights of at least 0, got {weights.min():.6g}")
    sums = weights.sum(axis=-1)
    if (np.abs(sums - 1) > _SUM).any():
        worst = sums.flat[np.argmax(np.abs(sums - 1))]
        raise ValueError(f"mixture: expected weights that sum to 1, got a sum of {worst:.6g}")
    if (host.get("degrees_of_freedom", np.ones(1)) <= 0).any():
        least = host["degrees_of_freedom"].min()
        raise ValueError(f"mixture: expected degrees_of_freedom above 0, got {least:.6g}")
    covariances = host["covariances"]
    if mixture.family.restrained and covariances.ndim == len(mixture.family.shape(1, 1)):
        _check_membership(mixture.family, covariances, weights)
    if (flaw := mixture.family.flaw(covariances)) is not None:
        raise ValueError(f"mixture: {flaw}")


def _check_membership(family: Any, covariances: Any, weights: Any) -> None:
    """Raise a ValueError where covariances that are used do not share what the family shares."""
    used = covariances[weights > 0]
    with np.errstate(all="ignore"):
        near = family.member(used, weights[weights > 0])
    size = np.abs(used).max(axis=tuple(range(1, used.ndim)), keepdims=True)
    if (np.abs(near - used) > _APART * size).any():
        raise ValueError(
            f"mixture: expected {family.name} covariances, of one "
            f"{' and one '.join(family.in_common)}, got others"
        )
