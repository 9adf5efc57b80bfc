"""What jgmm warns of, and where: at the line of the caller that led to it."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import warnings
from collections.abc import Iterator
from types import FrameType

_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
# The caller, where the work is done in a thread, whose stack does not have it.
_caller: contextvars.ContextVar[FrameType | None] = contextvars.ContextVar("caller", default=None)


_unheard: contextvars.ContextVar[bool] = contextvars.ContextVar("unheard", default=False)


class FitWarning(UserWarning):
    """A fit that did not converge, or that has not the components it was asked for.

    The status of the result says the same as a value. To hear nothing of it:
    ``warnings.filterwarnings("ignore", category=jgmm.FitWarning)``.

    Example:
        >>> import pytest, jgmm
        >>> with pytest.warns(jgmm.FitWarning, match="MAX_ITER"):
        ...     pixels = [[0.0], [1.0], [5.0], [7.0]]
        ...     result = jgmm.fit(pixels, 2, max_iter=1, tol=1e-9, search="none")
    """


class PrecisionWarning(UserWarning):
    """Data of float64 that are worked on in float32, because JAX is set up so."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside of this package that called into it."""
    if _unheard.get():
        return
    frame = _caller.get() or outside(sys._getframe(1))
    if frame is None:
        warnings.warn(message, category, stacklevel=2)
        return
    module = frame.f_globals.get("__name__", "<unknown>")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(
        message, category, frame.f_code.co_filename, frame.f_lineno, module, registry
    )


def outside(frame: FrameType | None) -> FrameType | None:
    """The nearest frame that is not of this package, from one on outwards."""
    while frame is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame = frame.f_back
    return frame


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Warn of nothing: for parts of a work that says itself how it ended."""
    token = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(token)


def called_from(frame: FrameType | None) -> None:
    """Let what is warned of in this context be of that frame."""
    _caller.set(frame)
