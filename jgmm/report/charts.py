"""Where the lines of a chart go: numbers for an SVG that a template draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 100, 556, 14, 262


@dataclass(frozen=True)
class Line:
    """A curve: its name, points in the chart, what is at its end, and the mark of the best."""

    name: str
    path: str
    points: list[tuple[float, float, str]]
    end: tuple[float, float, str]
    best: int = -1


@dataclass(frozen=True)
class Chart:
    """A chart in a box of `WIDTH` by `HEIGHT`."""

    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers between two.

    Example:
        >>> ticks(0.0, 1.0, 6), ticks(0, 7, 10, whole=True)[:3]
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0, 1, 2])
    """
    room = (high - low) / most
    if not (math.isfinite(room) and room > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(room))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= room * (1 - 1e-9))
    if whole:
        step = max(1, round(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step if whole else round(i * step, 12) for i in range(first, last + 1)]


def curves(histories: Mapping[int, Sequence[float]]) -> Chart | None:
    """Learning curves; a start far below the rest is cut off. None without a finite value."""
    kept = {k: finite(values) for k, values in histories.items()}
    kept = {k: values for k, values in kept.items() if values}
    if not kept:
        return None
    low = min(min(values) for values in kept.values())
    high = max(max(values) for values in kept.values())
    later = min(min(values[1:] or values) for values in kept.values())
    if high > later and later - low > 3 * (high - later):
        low = later - 0.15 * (high - later)
    lines = {f"k = {k}": list(enumerate(values)) for k, values in kept.items()}
    last = max(map(len, kept.values())) - 1
    return _chart(lines, (0, max(last, 1)), _padded(low, high), "{:.3f}", dots=last <= 60)


def criteria(ks: Sequence[int], values: Mapping[str, Sequence[float | None]]) -> Chart | None:
    """Criteria against k, the least of each marked; None where there are too few."""
    lines = {
        name: [(k, v) for k, v in sorted(zip(ks, column, strict=True)) if v is not None]
        for name, column in values.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    if len(ks) < 2 or not lines:
        return None
    found = [v for points in lines.values() for _, v in points]
    return _chart(lines, (min(ks), max(ks)), _padded(min(found), max(found)), "{:,.0f}", least=True)


def _chart(
    lines: Mapping[str, Sequence[tuple[int, float]]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    form: str,
    *,
    dots: bool = True,
    least: bool = False,
) -> Chart:
    (x0, x1), (low, high) = x_range, y_range

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (x - x0) / (x1 - x0) * (_RIGHT - _LEFT)
        down = _BOTTOM - (max(y, low) - low) / (high - low) * (_BOTTOM - _TOP)
        return round(right, 1), round(down, 1)

    made = []
    for name, values in lines.items():
        at = [place(x, y) for x, y in values]
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in at)
        said = [form.format(y) for _, y in values]
        marks = zip(at, values, said, strict=True)
        points = [(*spot, f"{name}, {x}: {text}") for spot, (x, _), text in marks]
        heights = [y for _, y in values]
        best = heights.index(min(heights)) if least else -1
        made.append(Line(name, path, points if dots else [], (*at[-1], said[-1]), best))
    x_marks = [(place(x, low)[0], f"{x:g}") for x in ticks(x0, x1, 9, whole=True)]
    y_marks = [(place(x0, y)[1], _plain(y)) for y in ticks(low, high, 6)]
    return Chart(_apart(made), x_marks, y_marks, x_range, y_range)


def _apart(lines: list[Line]) -> list[Line]:
    """The same with names at the ends that do not overlap."""
    order = sorted(range(len(lines)), key=lambda i: lines[i].end[1])
    places: dict[int, float] = {}
    least = 17.0
    before = -math.inf
    for i in order:
        before = max(lines[i].end[1], before + least)
        places[i] = before
    over = max(0.0, before - (HEIGHT - 6)) if lines else 0.0
    return [
        Line(n.name, n.path, n.points, (n.end[0], round(places[i] - over, 1), n.end[2]), n.best)
        for i, n in enumerate(lines)
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.01 * max(abs(high), 1.0)
    return low - room, high + room


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def finite(values: Sequence[Any]) -> list[float]:
    """The values up to the first that is not finite."""
    found: list[float] = []
    for value in values:
        if not math.isfinite(value):
            break
        found.append(float(value))
    return found
