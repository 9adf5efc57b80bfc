"""Figures by matplotlib: learning curves, and the original beside its segmentations.

Each function builds a `matplotlib.figure.Figure` of its own and never touches pyplot, so that
no backend is chosen, nothing leaks and any thread may draw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jgmm._atomic import atomic_write

Array = npt.NDArray[Any]

# Okabe and Ito (2008): told apart by the colour-blind too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _MUTED, _LINE = "#222222", "#666666", "#E6E6E6"
_TITLE, _TEXT, _SMALL = 13, 11, 10  # points
_DPI = 144


def learning_curve(
    history: npt.ArrayLike,
    *,
    ax: Axes | None = None,
    label: str | None = None,
    title: str | None = None,
) -> Figure:
    """The mean log-likelihood of one fit against the EM iteration.

    A start far below the rest is cut off at the edge, with its value written there, so that the
    later steps can be told apart.

    Args:
      history: [max_iter + 1] mean nats per pixel: of the start, and after each step; NaN where
        the fit had ended.
      ax: axes to draw into; by default those of a new figure.
      label: a name, written at the end of the curve before its last value.
      title: a heading.

    Returns:
      The figure.

    Raises:
      ValueError: the history is not one-dimensional or has no finite value.

    Example:
      >>> len(learning_curve([2.0, 2.8, 2.9, float("nan")], title="k = 3").axes)
      1
    """
    values = _finite(history)
    if ax is None:
        ax = _figure(6.8, 4.2).add_subplot()
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("expected axes that belong to a figure")
    _draw(ax, [values], [label], title)
    return figure


def learning_curves(histories: Mapping[int, npt.ArrayLike], *, title: str | None = None) -> Figure:
    """The learning curves of fits with several k in one figure.

    Args:
      histories: k -> history, as `learning_curve` takes it.
      title: a heading.

    Returns:
      The figure.

    Raises:
      ValueError: no history, or one that `learning_curve` would not take.

    Example:
      >>> len(learning_curves({3: [2.0, 2.8], 5: [3.0, 3.6, 3.8]}).axes)
      1
    """
    if not histories:
        raise ValueError("expected at least one history, got none")
    figure = _figure(8.0, 5.0)
    curves = [_finite(history) for history in histories.values()]
    _draw(figure.add_subplot(), curves, [f"k = {k}" for k in histories], title)
    return figure


def criteria(
    n_components: npt.ArrayLike, curves: Mapping[str, npt.ArrayLike], *, title: str | None = None
) -> Figure:
    """Information criteria against the number of components, the least of each marked.

    Args:
      n_components: [S].
      curves: name -> values [S], or [S, R] of which the least of each row counts. Of a
        `SweepResult`: ``criteria(r.n_components, {"BIC": r.bic, "ICL": r.icl})``.
      title: a heading.

    Returns:
      The figure.

    Raises:
      ValueError: no curve, or one of another length.

    Example:
      >>> len(criteria([1, 2, 3], {"BIC": [9.0, 5.0, 6.0]}).axes)
      1
    """
    ks = np.asarray(n_components)
    order = np.argsort(ks)
    if not curves:
        raise ValueError("expected at least one curve, got none")
    figure = _figure(6.8, 4.2)
    ax = figure.add_subplot()
    for (name, given), color in zip(curves.items(), _colors(len(curves)), strict=True):
        values = np.asarray(given, np.float64)
        if values.ndim not in (1, 2) or len(values) != len(ks):
            raise ValueError(f"{name}: expected {len(ks)} values, got shape {values.shape}")
        values = values.reshape(len(ks), -1)
        values = np.where(np.isfinite(values), values, np.inf).min(axis=1)[order]
        values = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(values).all():
            raise ValueError(f"{name}: expected at least one finite value, got none")
        least = int(np.nanargmin(values))
        label = f"{name}, least at k = {ks[order][least]}"
        ax.plot(ks[order], values, color=color, lw=1.8, marker="o", ms=3.5, label=label)
        ax.plot(ks[order][least], values[least], "o", color=color, ms=9, mfc="white", mew=1.8)
    ax.legend(frameon=False, fontsize=_SMALL, labelcolor=_INK)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    _dress(ax, "number of components k", "criterion (the least is the best)", title)
    return figure


def comparison(
    original: npt.ArrayLike,
    images: Mapping[int, npt.ArrayLike],
    log_likelihoods: Mapping[int, float],
) -> Figure:
    """The original beside its segmentations, each under its k and mean log-likelihood.

    Args:
      original: [H, W] or [H, W, C], uint8, uint16 or float. With more than 4 bands the first
        three are shown as red, green and blue.
      images: k -> the segmented image, of the same kinds.
      log_likelihoods: k -> mean nats per pixel.

    Returns:
      The figure.

    Raises:
      ValueError: an array that is no image, or a k without log-likelihood.

    Example:
      >>> grey = np.zeros((4, 6), np.uint8)
      >>> len(comparison(grey, {3: grey, 5: grey}, {3: 2.9, 5: 3.8}).axes)
      3
    """
    if missing := [k for k in images if k not in log_likelihoods]:
        raise ValueError(f"expected a log-likelihood for every k, got none for {missing}")
    panels = [(_image(original), "original", "")]
    for k, image in images.items():
        score = f"log-likelihood {float(log_likelihoods[k]):.3f}"
        panels.append((_image(image), f"k = {k}", score))
    height, width = panels[0][0].shape[:2]
    columns, panel = _grid(len(panels), width / height)
    rows, margin, heading = math.ceil(len(panels) / columns), 0.15, 0.32  # inches
    tall = panel * height / width
    size = (
        columns * (panel + margin) + margin,
        rows * (tall + margin + heading) + margin,
    )
    figure = _figure(*size, layout="none")
    for index, (image, name, score) in enumerate(panels):
        row, column = divmod(index, columns)
        left = margin + column * (panel + margin)
        bottom = size[1] - (row + 1) * (tall + margin + heading)
        box = (left / size[0], bottom / size[1], panel / size[0], tall / size[1])
        ax = figure.add_axes(box, facecolor=_LINE, xticks=[], yticks=[])  # grey where transparent
        ax.spines[:].set_visible(False)
        # Far more pixels than the panel has only cost time.
        step = max(1, min(image.shape[:2]) // math.ceil(2 * _DPI * min(panel, tall)))
        shown = _displayable(image[::step, ::step])
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect="auto")
        ax.set_title(name, loc="left", fontsize=_TEXT, fontweight="bold", color=_INK, pad=5)
        ax.set_title(score, loc="right", fontsize=_SMALL, color=_MUTED, pad=5)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix, PNG without one; whole or not at all.

    Raises:
      ValueError: a format that matplotlib does not know.
      OSError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(learning_curve([1.0, 2.0]), f"{folder}/curve.png")
    """
    kind = Path(path).suffix[1:].lower() or "png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=_DPI)


def _figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout=layout)
    if layout == "constrained":
        figure.set_layout_engine("constrained", rect=(0.01, 0.015, 0.98, 0.97))  # a margin
    FigureCanvasAgg(figure)
    return figure


def _finite(history: npt.ArrayLike) -> Array:
    """The history up to its first NaN."""
    values = np.asarray(history, np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected a history [max_iter + 1], got shape {values.shape}")
    ended = np.flatnonzero(~np.isfinite(values))
    values = values[: ended[0]] if ended.size else values
    if not values.size:
        raise ValueError("expected a history that starts with a finite value, got none")
    return values


def _draw(ax: Axes, curves: list[Array], labels: Sequence[str | None], title: str | None) -> None:
    colors, last = _colors(len(curves)), max(map(len, curves)) - 1
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
    note = f"k-means start, {curves[0][0]:.3f}" if len(curves) == 1 else "k-means start"
    below = any(values[0] < low for values in curves)
    if below:
        note += " (below the scale)" if len(curves) == 1 else " (triangle: below the scale)"
    mark = Line2D([], [], marker="v" if below and len(curves) == 1 else "o", color=_MUTED, **start)
    ax.legend([mark], [note], loc="lower right", frameon=False, fontsize=_SMALL, labelcolor=_MUTED)
    pad = max(0.02 * last, 0.15)
    ax.set(ylim=(low, high), xlim=(-pad, max(last, 1) + pad))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    _dress(ax, "EM iteration", "mean log-likelihood (nats per pixel)", title)
    _name_ends(ax, curves, labels, colors)


def _dress(ax: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    """Labels, grid, spines and title, the same for every chart."""
    ax.ticklabel_format(axis="y", useOffset=False, style="plain")
    ax.set_xlabel(xlabel, fontsize=_TEXT, color=_INK)
    ax.set_ylabel(ylabel, fontsize=_TEXT, color=_INK)
    ax.tick_params(labelsize=_SMALL, length=0, labelcolor=_MUTED)
    ax.grid(axis="y", color=_LINE, lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(_MUTED)
    if title is not None:
        ax.set_title(title, loc="left", fontsize=_TITLE, fontweight="bold", color=_INK, pad=10)


def _limits(curves: list[Array]) -> tuple[float, float]:
    """Limits of y: all values, but the starts only if they do not squash the rest."""
    low, high = min(v.min() for v in curves), max(v.max() for v in curves)
    later = min(v[1:].min() if len(v) > 1 else v[0] for v in curves)
    if high > later and later - low > 3 * (high - later):
        return later - 0.15 * (high - later), high + 0.06 * (high - later)
    room = 0.06 * (high - low) or 0.01 * max(abs(high), 1.0)
    return low - room, high + room


def _name_ends(
    ax: Axes, curves: list[Array], labels: Sequence[str | None], colors: list[str]
) -> None:
    """Write each curve's name and last value right of the axes, apart from one another."""
    low, high = ax.get_ylim()
    apart = 1.25 * _TEXT / (0.8 * 72 * ax.get_figure(root=True).get_figheight())  # type: ignore[union-attr]
    order = sorted(range(len(curves)), key=lambda i: float(curves[i][-1]))
    ends = np.array([(curves[i][-1] - low) / (high - low) for i in order])
    for i, y in zip(order, _spread(ends, apart), strict=True):
        name = f"{labels[i]}   " if labels[i] is not None else ""
        text = f"{name}{curves[i][-1]:.3f}"
        style: dict[str, Any] = {"va": "center", "fontsize": _TEXT, "color": colors[i]}
        ax.annotate(text, (1.015, y), xycoords="axes fraction", annotation_clip=False, **style)


def _spread(places: Array, apart: float) -> list[float]:
    """Ascending places moved as little as keeps them apart (least squares)."""
    count = len(places)
    free = places - apart * np.arange(count)  # these only have to be in order: isotonic
    return [
        max(min(free[a:b].mean() for b in range(i + 1, count + 1)) for a in range(i + 1))
        + apart * i
        for i in range(count)
    ]


def _colors(count: int) -> list[str]:
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    ramp = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
    return [matplotlib.colors.to_hex(color) for color in ramp]


def _image(image: npt.ArrayLike) -> Array:
    """Any image as [H, W] or [H, W, 3 or 4]."""
    array = np.asarray(image)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"expected an image [H, W] or [H, W, C], got shape {array.shape}")
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        return array[:, :, :3] if array.shape[2] > 4 else array[:, :, 0]
    return array


def _displayable(array: Array) -> Array:
    """Pixels as float in [0, 1]; floats beyond that are scaled into it."""
    if array.dtype.kind == "u":
        return array / np.float32(np.iinfo(array.dtype).max)
    array = array.astype(np.float32)
    low, high = min(0.0, float(array.min())), max(1.0, float(array.max()))
    return (array - low) / (high - low)


def _grid(count: int, aspect: float) -> tuple[int, float]:
    """Columns, and the width of a panel in inches, that show ``count`` panels largest."""
    wide, tall = 13.0, 8.5  # inches at most
    sizes = []
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        panel = min(wide / columns, (tall / rows - 0.5) * aspect)
        sizes.append((panel, -columns))
    panel, columns = max(sizes)
    return -columns, min(max(panel, 2.4), 6.0)
