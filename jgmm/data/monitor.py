"""How far work has come, for whoever listens; nothing is computed or compiled where nobody does.

Work says so on the host alone: between programs, never inside of one.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Protocol


class Listener(Protocol):
    """Who hears how far work has come; from any thread."""

    def expect(self, n: int) -> None:
        """There are so many more pieces of work."""

    def hear(self, about: str, value: float, steps: int, left: float | None = None) -> None:
        """One of them is done.

        Args:
            about: what it was about.
            value: what it led to, in nats per sample; NaN where that means nothing.
            steps: of how many steps it was.
            left: how many pieces there are still to do, where that was not told before; infinity
                where nobody knows.
        """


_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("listener")


def listener() -> Listener | None:
    """Who listens here, if anybody does."""
    return _listener.get(None)


@contextlib.contextmanager
def heard_by(who: Listener) -> Iterator[None]:
    """Within this, and in threads that are started from it, somebody listens."""
    token = _listener.set(who)
    try:
        yield
    finally:
        _listener.reset(token)
