"""Timing that can be trusted on a noisy machine: candidates in turn, medians, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax

import jgmm

T = TypeVar("T", jgmm.FitResult, jgmm.VariationalResult)


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each candidate, ``repeats`` times in turn, so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            times[name].append(seconds(run))
    return times


def per_step(
    candidates: Mapping[str, Callable[[int], object]],
    steps: Mapping[str, int],
    repeats: int,
) -> dict[str, float]:
    """Median seconds of one step of each candidate, from runs of 1 and 1 + n steps.

    What a run costs beside its steps cancels in the difference.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            n = steps[name]
            short = seconds(lambda run=run: run(1))  # type: ignore[misc]
            long = seconds(lambda run=run, n=n: run(1 + n))  # type: ignore[misc]
            times[name].append((long - short) / n)
    return {name: statistics.median(values) for name, values in times.items()}


def all_steps(result: T, n: int) -> T:
    """``result``, waited for; a RuntimeError unless it took ``n`` steps.

    A fit that stops early would make a step look cheaper than it is.
    """
    result = jax.block_until_ready(result)
    taken, status = int(result.n_iter), jgmm.Status(int(result.status))
    if taken != n:
        raise RuntimeError(f"expected {n} steps to time, got {taken} ({status.name})")
    return result
