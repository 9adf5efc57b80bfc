"""A bar that shows how far fits have come, by rich, which loads when it is used."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from jgmm import _checks
from jgmm.data import monitor


@contextlib.contextmanager
def shown(progress: bool) -> Iterator[None]:
    """Show how far the work within has come, on the error stream or in a notebook, if asked to.

    There are what was worked on last, pieces of work done and to do, steps of EM taken by all
    together, the objective that the last piece led to in nats per sample (of a search that is of a
    subsample), the time taken, and what the rest may take at the speed of the last pieces. Within
    a program, under `jax.jit`, nothing is shown.

    Raises:
        TypeError: ``progress`` is no bool.
    """
    if not isinstance(progress, bool | np.bool_):
        raise TypeError(f"progress: expected a bool, got {type(progress).__name__}")
    if not progress or _checks.in_program():
        yield
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar, monitor.heard_by(_Bar(bar)):
        yield


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._task = bar.add_task("fitting", total=0, said="")
        self._steps = self._done = 0
        self._total = 0.0

    def expect(self, n: int) -> None:
        with self._lock:
            self._total += n
            self._bar.update(self._task, total=self._total)

    def hear(self, about: str, value: float, steps: int, left: float | None = None) -> None:
        with self._lock:
            self._steps += steps
            self._done += 1
            self._total = max(self._total, self._done) if left is None else self._done + left
            said = f"{self._steps} steps"
            if math.isfinite(value):
                said += f", {value:.4f} nats per sample"
            total = self._total if math.isfinite(self._total) else None
            done = {"completed": self._done, "total": total}
            self._bar.update(self._task, description=about, said=said, **done)


def left_of(history: Any, tol: float, most: int) -> float:
    """How many more steps a run may take, at most ``most``; infinity where it is too early.

    Told from its last gains: those of EM shrink by the same factor from step to step, once it is
    near the optimum.

    Example:
        >>> left_of([0.0, 0.5, 0.75, 0.875], 0.1, 100), left_of([0.0, 1.0], 0.1, 100)
        (1, inf)
    """
    values = np.asarray(history, np.float64)
    gains = np.diff(values[np.isfinite(values)])[-5:]
    if len(gains) < 2:
        return math.inf
    last, gains = gains[-1], gains[gains > 0]
    if last <= tol or len(gains) < 2:
        return min(most, 1)
    shrunk = math.log(gains[-1] / gains[0]) / (len(gains) - 1)
    if shrunk >= 0 or not tol > 0:
        return math.inf
    return min(most, max(1, math.ceil(math.log(tol / gains[-1]) / shrunk)))
