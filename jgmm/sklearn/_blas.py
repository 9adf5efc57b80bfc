"""NumPy's products on one thread, where XLA is about to need the cores.

The threads of OpenBLAS go on spinning for some time after a product, in case there is another.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """A context in which every BLAS of the process works on one thread."""
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # which looks at all libraries of the process
