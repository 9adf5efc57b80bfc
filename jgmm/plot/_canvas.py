"""What the figures share: size, colours, labels, and how they are saved."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jgmm._atomic import printable, write_whole
from jgmm.mixture.mixture import Mixture, as_mixture

# Okabe and Ito (2008): told apart by the colour-blind too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, LINE = "#222222", "#666666", "#E6E6E6"
TITLE, TEXT, SMALL = 13, 11, 10  # points
DPI = 144
_LONGEST = 60  # characters of a title


def save(figure: Figure | Axes, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix, PNG without one; whole or not at all.

    Args:
      figure: a figure, or axes, of which the whole figure is written.
      path: where to.

    Raises:
      ValueError: a format that matplotlib does not know, or axes without a figure.
      OSError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> from jgmm.plot import learning_curve
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(learning_curve([1.0, 2.0]), f"{folder}/curve.png")
    """
    kind = Path(path).suffix[1:].lower() or "png"
    drawn = io.BytesIO()
    of = figure if isinstance(figure, Figure) else figure_of(figure)
    of.savefig(drawn, format=kind, dpi=DPI)
    write_whole(path, drawn.getvalue())


def new_axes(ax: Any, width: float, height: float, **options: Any) -> Any:
    """The axes given, or else those of a new figure, which a notebook shows by itself.

    Args:
      ax: axes or None.
      width: of a new figure, in inches.
      height: of the same.
      options: of `Figure.add_subplot`.
    """
    return blank(width, height, shown=True).add_subplot(**options) if ax is None else ax


def blank(
    width: float, height: float, layout: Any = "constrained", *, shown: bool = False
) -> Figure:
    """An empty figure, its size in inches.

    In a notebook it is made by pyplot, which has Jupyter know how to show figures: at the end of
    the cell if it is ``shown``, else only as the value of the cell, so as not to come twice.
    """
    options: dict[str, Any] = {"figsize": (width, height), "dpi": DPI, "facecolor": "white"}
    if _in_notebook():
        from matplotlib import pyplot

        figure = pyplot.figure(**options, layout=layout)
        if not shown:
            pyplot.close(figure)
    else:
        figure = Figure(**options, layout=layout)
        FigureCanvasAgg(figure)
    if layout == "constrained":
        figure.set_layout_engine("constrained", rect=(0.01, 0.015, 0.98, 0.97))  # a margin
    return figure


def single(fit: Any) -> Mixture:
    """The mixture of a fit, unless there are several."""
    mixture = as_mixture(fit)
    if (shape := np.shape(mixture.means))[:-2]:
        raise ValueError(
            f"expected one mixture, got a batch of shape {shape[:-2]}; "
            "take one, as by jax.tree.map(lambda leaf: leaf[0], fits)"
        )
    return mixture


def figure_of(ax: Axes) -> Figure:
    """The figure of axes."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("expected axes that belong to a figure")
    return figure


def _in_notebook() -> bool:
    """Whether this runs in a cell of an IPython kernel; in other threads pyplot is not safe."""
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    kernel = find is not None and getattr(find(), "kernel", None) is not None
    return kernel and current_thread() is main_thread()


def literal(text: str) -> dict[str, Any]:
    """Options of a matplotlib text that shows this as it is: no mathematics, no TeX, one line.

    What is too long for a figure is cut in the middle.
    """
    shown = printable(text)
    if len(shown) > _LONGEST:
        half = _LONGEST // 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    return {"text": shown, "parse_math": False, "usetex": False}


def legend(ax: Axes, handles: list[Artist], names: list[str], **options: Any) -> None:
    """A legend whose names are shown as they are."""
    made = ax.legend(handles, [str(i) for i in range(len(names))], frameon=False, **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set(**literal(name))


def dress(ax: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    """Labels, grid, spines and title, the same for every chart."""
    ax.ticklabel_format(axis="y", useOffset=False, style="plain")
    ax.set_xlabel(xlabel, fontsize=TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    ax.tick_params(labelsize=SMALL, length=0, labelcolor=MUTED)
    ax.grid(axis="y", color=LINE, lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    if title is not None:
        heading = ax.set_title("", loc="left", fontsize=TITLE, fontweight="bold", color=INK, pad=10)
        heading.set(**literal(title))


def styles_for(count: int) -> list[dict[str, Any]]:
    """As many looks of lines: the palette's colours, then again with other dashes and markers."""
    turns = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
    looks = [
        {"color": color, "ls": dash, "marker": marker}
        for dash, marker in turns
        for color in PALETTE
    ]
    return [looks[i % len(looks)] for i in range(count)]


def colors_for(count: int) -> list[str]:
    """As many colours, of the palette if that suffices."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    ramp = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
    return [matplotlib.colors.to_hex(color) for color in ramp]
