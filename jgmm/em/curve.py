"""Learning curves of results: without their padding, and as small pictures for Jupyter."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from jax import Array

from jgmm._struct import values_known

# Of middling lightness, so that they are seen on white and on black.
COLOURS = ("#3a86c8", "#c8641e", "#1f9468", "#b85a9a", "#96782a", "#7a70d0")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 320, 110, 70, 8, 90


def colour_of(index: int) -> str:
    """The colour of a curve of several, as hex."""
    return COLOURS[index % len(COLOURS)]


def learning_curve(history: Array, n_iter: Array) -> npt.NDArray[Any]:
    """The history of one result without its padding [n_iter + 1], on the host.

    Raises:
        ValueError: of a batch, or under a trace.
    """
    if not values_known(history) or np.ndim(n_iter) != 0:
        raise ValueError(
            "learning_curve: expected one fit whose values are known, got a batch or tracers; "
            "history has the same, padded with NaN to one length"
        )
    curve: npt.NDArray[Any] = np.asarray(history)[: int(n_iter) + 1]
    return curve


def curve_svg(curves: Mapping[str, Sequence[float]]) -> str:
    """Curves by name, of values after 0, 1, 2, … steps, as an SVG element; "" without any.

    Values from the first that is not finite on are left out, and a start far below the rest is
    cut off. Text and axes have the colour of the text around.

    Example:
        >>> curve_svg({"k = 2": [-3.0, -2.5, -2.4]}).count("<path")
        2
        >>> curve_svg({"k = 2": [float("nan")]})
        ''
    """
    kept = {name: _finite(values) for name, values in curves.items()}
    if not any(kept.values()):
        return ""
    last = max(1, *(len(values) - 1 for values in kept.values()))
    low, high = _range([values for values in kept.values() if values])
    right = _WIDTH - 8

    def place(i: int, value: float) -> str:
        x = _LEFT + i / last * (right - _LEFT)
        y = _BOTTOM - (max(value, low) - low) / (high - low) * (_BOTTOM - _TOP)
        return f"{x:.1f},{y:.1f}"

    lines = []
    for i, (name, values) in enumerate(kept.items()):
        if not values:
            continue
        path = "M" + "L".join(place(step, value) for step, value in enumerate(values))
        lines.append(
            f'<path d="{path}" fill="none" stroke="{colour_of(i)}" stroke-width="2"'
            f' stroke-linecap="round"><title>{html.escape(name)}: {values[-1]:.6g} after '
            f"{len(values) - 1} steps</title></path>"
        )
    text = 'fill="currentColor" font-size="11" font-family="sans-serif" text-anchor="{}"'
    return (
        f'<svg role="img" aria-label="learning curve" width="{_WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {_WIDTH} {_HEIGHT}" style="max-width:100%">'
        f'<path d="M{_LEFT},{_TOP}V{_BOTTOM}H{right}" fill="none" stroke="currentColor"'
        ' opacity="0.4"/>' + "".join(lines) + f'<text x="{_LEFT - 6}" y="{_TOP + 6}"'
        f" {text.format('end')}>{high:.4g}</text>"
        f'<text x="{_LEFT - 6}" y="{_BOTTOM}" {text.format("end")}>{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}" {text.format("middle")}>0</text>'
        f'<text x="{right}" y="{_HEIGHT - 6}" {text.format("end")}>{last} steps</text></svg>'
    )


def _finite(values: Sequence[float]) -> list[float]:
    found: list[float] = []
    for value in map(float, values):
        if not math.isfinite(value):
            break
        found.append(value)
    return found


def _range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """What is shown of the values, lowest and highest."""
    low, high = min(map(min, curves)), max(map(max, curves))
    later = min(min(values[1:] or values) for values in curves)
    if high > later and later - low > 3 * (high - later):
        low = later - 0.15 * (high - later)
    if high - low <= 1e-9 * max(abs(high), 1e-30):
        room = 0.01 * abs(high) or 1.0
        return low - room, high + room
    return low, high
