"""How far a fit has come: told where somebody listens, and never to a program."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from examples import K, X

import jgmm
from jgmm.data import monitor


class Heard:
    """What was told."""

    def __init__(self) -> None:
        self.expected, self.values, self.steps = 0, [], 0

    def expect(self, n: int) -> None:
        self.expected += n

    def hear(self, about: str, value: float, steps: int, left: float | None = None) -> None:
        self.values.append(value)
        self.steps += steps
        if left is not None and math.isfinite(left):
            self.expected = len(self.values) + left


def stream(**more: Any) -> jgmm.FitResult:
    return jgmm.fit_stream([X, X[::-1]], K, **more)


def swept(**more: Any) -> jgmm.SweepResult:
    return jgmm.sweep(X, [K - 1, K], **more)


@pytest.mark.parametrize("work", [lambda **more: jgmm.fit(X, K, **more), swept, stream])
def test_what_is_told_adds_up_and_changes_nothing(
    work: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """As many pieces as were expected; the last value is the objective of the result."""
    silent, heard = work(), Heard()
    assert capfd.readouterr().err == ""
    with monitor.heard_by(heard):
        assert work() == silent
    assert heard.expected == len(heard.values)
    last = silent if isinstance(silent, jgmm.FitResult) else silent.fits
    ends = np.ravel(last.objective)
    assert any(np.isclose(heard.values[-1], end, rtol=1e-9) for end in ends)
    assert heard.steps >= int(np.min(last.n_iter))
    assert work(progress=True) == silent
    error = capfd.readouterr().err
    assert f"{heard.values[-1]:.4f} nats per sample" in error
    assert f"{heard.steps} steps" in error


def test_nothing_is_shown_in_programs_and_nothing_loads_unasked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # an import of it fails
    jgmm.fit(X, K)
    jax.eval_shape(lambda x: jgmm.fit(x, K, search="none", progress=True), X)
    assert capfd.readouterr().err == ""
    with pytest.raises(TypeError, match="progress: expected a bool, got str"):
        jgmm.fit(X, K, progress="yes")
