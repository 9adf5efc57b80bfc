"""Code that works on arrays of either kind: on the host, and under traces."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def module_of(array: Any) -> Any:
    """NumPy for its own arrays, for which nothing is compiled; else jax.numpy."""
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def lengthened(array: Any, n: int) -> Any:
    """``n`` entries along the first axis, those behind like the first; NumPy arrays stay so.

    Example:
        >>> lengthened(np.array([5, 6]), 4).tolist()
        [5, 6, 5, 5]
    """
    xp = module_of(array)
    return xp.concatenate([array, xp.repeat(array[:1], n - len(array), axis=0)])
