"""Code that works on arrays of either kind: on the host, and under traces."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def module_of(array: Any) -> Any:
    """NumPy for its own arrays, for which nothing is compiled; else jax.numpy."""
    return np if isinstance(array, np.ndarray | np.generic) else jnp
