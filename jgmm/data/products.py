"""Products: of matrices, with all digits, which accelerators by default round; along axes."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

dot = partial(jnp.dot, precision=lax.Precision.HIGHEST)
einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def matmul(a: Any, b: Any) -> Any:
    """A @ B; NumPy arrays stay so."""
    if isinstance(a, np.ndarray):
        return a @ b
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def with_one(samples: Array) -> Array:
    """Samples x [D, S] as (1, x) [D + 1, S]."""
    return jnp.concatenate([jnp.ones_like(samples[:1]), samples])


def along(values: Array, leaf: Array) -> Array:
    """Values [K] with axes of length 1 behind, to go with a leaf [K, ...]."""
    return values.reshape(-1, *(1,) * (leaf.ndim - 1))
