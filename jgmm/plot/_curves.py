"""Learning curves: the likelihood on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jgmm.em.result import FitResult, quantity_of
from jgmm.fitting.sweeps import SweepResult
from jgmm.plot._canvas import MUTED, SMALL, TEXT, colors_for, dress, legend, literal, new_axes

NdArray = npt.NDArray[Any]


def learning_curve(
    history: npt.ArrayLike | FitResult,
    *,
    ax: Axes | None = None,
    label: str | None = None,
    title: str | None = None,
    quantity: str | None = None,
) -> Axes:
    """The mean log-likelihood of one fit against the iteration.

    A start far below the rest is cut off at the edge, with its value written there, so that the
    later steps can be told apart.

    Args:
      history: a fit, or its history [max_iter + 1], mean nats per pixel: of the start, and after
        each step; NaN where the fit had ended.
      ax: axes to draw into; by default those of a new figure.
      label: a name, written at the end of the curve before its last value.
      title: a heading.
      quantity: what the history is of, in nats per pixel; by default the mean log-likelihood, or
        the objective if the fit maximised something else.

    Returns:
      The axes.

    Raises:
      ValueError: the history is not one-dimensional or has no finite value.

    Example:
      >>> learning_curve([2.0, 2.8, float("nan")], title="k = 3").lines[0].get_ydata().tolist()
      [2.0, 2.8]
    """
    values = _finite(history)
    ax = new_axes(ax, 6.8, 4.2)
    _draw(ax, [values], [label], title, quantity or _quantity([history]))
    return ax


def learning_curves(
    histories: Mapping[int, npt.ArrayLike] | Mapping[int, FitResult] | SweepResult,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    quantity: str | None = None,
) -> Axes:
    """The learning curves of fits with several k in one chart.

    Args:
      histories: a `SweepResult`, of which the best restart of every k is drawn, or k -> a fit or
        its history, as `learning_curve` takes it.
      ax: axes to draw into; by default those of a new figure.
      title: a heading.
      quantity: what the histories are of, as `learning_curve` has it.

    Returns:
      The axes.

    Raises:
      ValueError: no history, or one that `learning_curve` would not take.

    Example:
      >>> ax = learning_curves({3: [2.0, 2.8], 5: [3.0, 3.6, 3.8]})
      >>> [text.get_text() for text in ax.texts]
      ['k = 3   2.800', 'k = 5   3.800']
    """
    if isinstance(histories, SweepResult):
        histories = {k: histories[k] for k in np.asarray(histories.n_components).tolist()}
    if not histories:
        raise ValueError("expected at least one history, got none")
    curves = [_finite(history) for history in histories.values()]
    ax = new_axes(ax, 8.0, 5.0)
    names = [f"k = {k}" for k in histories]
    _draw(ax, curves, names, title, quantity or _quantity(histories.values()))
    return ax


def _quantity(histories: Iterable[Any]) -> str:
    return quantity_of(one for one in histories if isinstance(one, FitResult))


def _finite(history: npt.ArrayLike | FitResult) -> NdArray:
    """The history up to its first NaN."""
    if isinstance(history, FitResult):
        history = history.history
    values = np.asarray(history, np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected a history [max_iter + 1], got shape {values.shape}")
    ended = np.flatnonzero(~np.isfinite(values))
    values = values[: ended[0]] if ended.size else values
    if not values.size:
        raise ValueError("expected a history that starts with a finite value, got none")
    return values


def _draw(
    ax: Axes,
    curves: list[NdArray],
    labels: Sequence[str | None],
    title: str | None,
    quantity: str,
) -> None:
    colors, last = colors_for(len(curves)), max(map(len, curves)) - 1
    low, high = _limits(curves)
    start: dict[str, Any] = {"mfc": "white", "mew": 1.6, "ms": 7, "ls": "", "clip_on": False}
    for values, color in zip(curves, colors, strict=True):
        steps, cut = np.arange(len(values)), int(values[0] < low)
        dots = "o" if last <= 60 else ""
        ax.plot(steps[cut:], values[cut:], color=color, lw=1.8, marker=dots, ms=3.2, zorder=3)
        first = low + 0.03 * (high - low) if cut else values[0]
        ax.plot([0], [first], "ov"[cut], color=color, zorder=4, **start)
        dotted: dict[str, Any] = {"color": color, "lw": 1, "ls": ":", "alpha": 0.7}
        ax.plot([steps[-1], last], values[[-1, -1]], **dotted)
        if cut:
            ax.plot([0, 1], [first, values[1]], **dotted)
    note = f"start, {curves[0][0]:.3f}" if len(curves) == 1 else "start"
    below = any(values[0] < low for values in curves)
    if below:
        note += " (below the scale)" if len(curves) == 1 else " (triangle: below the scale)"
    mark = Line2D([], [], marker="v" if below and len(curves) == 1 else "o", color=MUTED, **start)
    legend(ax, [mark], [note], loc="lower right", fontsize=SMALL, labelcolor=MUTED)
    pad = max(0.02 * last, 0.15)
    ax.set(ylim=(low, high), xlim=(-pad, max(last, 1) + pad))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    dress(ax, "iteration", f"{quantity} (nats per pixel)", title)
    _name_ends(ax, curves, labels, colors)


def _limits(curves: list[NdArray]) -> tuple[float, float]:
    """Limits of y: all values, but the starts only if they do not squash the rest."""
    low, high = min(v.min() for v in curves), max(v.max() for v in curves)
    later = min(v[1:].min() if len(v) > 1 else v[0] for v in curves)
    if high > later and later - low > 3 * (high - later):
        return later - 0.15 * (high - later), high + 0.06 * (high - later)
    room = 0.06 * (high - low) or 0.01 * max(abs(high), 1.0)
    return low - room, high + room


def _name_ends(
    ax: Axes, curves: list[NdArray], labels: Sequence[str | None], colors: list[str]
) -> None:
    """Write each curve's name and last value right of the axes, apart from one another."""
    low, high = ax.get_ylim()
    apart = 1.25 * TEXT / (0.8 * 72 * ax.get_figure(root=True).get_figheight())  # type: ignore[union-attr]
    order = sorted(range(len(curves)), key=lambda i: float(curves[i][-1]))
    ends = np.array([(curves[i][-1] - low) / (high - low) for i in order])
    for i, y in zip(order, _spread(ends, apart), strict=True):
        name = f"{labels[i]}   " if labels[i] is not None else ""
        text = f"{name}{curves[i][-1]:.3f}"
        style: dict[str, Any] = {"va": "center", "fontsize": TEXT, "color": colors[i]}
        end = ax.annotate("", (1.015, y), xycoords="axes fraction", annotation_clip=False, **style)
        end.set(**literal(text))


def _spread(places: NdArray, apart: float) -> list[float]:
    """Ascending places moved as little as keeps them apart (least squares)."""
    free = places - apart * np.arange(len(places))  # these only have to be in order: isotonic
    pools: list[tuple[float, int]] = []  # means and counts of neighbours that share a place
    for value in free.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, count = (n * before + count * mean) / (n + count), n + count
        pools.append((mean, count))
    level = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    moved: list[float] = (level + apart * np.arange(len(places))).tolist()
    return moved
