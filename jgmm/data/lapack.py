"""What JAX's factorisations on a CPU come from, SciPy, imported while other things go on.

JAX imports it when it first lowers one: a third of a second. A program that comes from a folder is
not lowered, and would find none.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading

import jax


@functools.cache
def begin() -> threading.Thread:
    """Start to import it, in a thread."""
    thread = threading.Thread(target=_fetch, daemon=True)
    thread.start()
    return thread


def _fetch() -> None:
    # Where another thread is in the middle of SciPy this may find half of it. JAX imports it again,
    # and says what is wrong.
    with contextlib.suppress(Exception):
        importlib.import_module("scipy.linalg.cython_lapack")


@functools.cache
def wait() -> None:
    """Have it there, for programs that are not lowered."""
    begin().join()
    jax.jit(jax.lax.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), "float32"))
