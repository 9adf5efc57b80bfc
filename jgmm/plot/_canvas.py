"""What the figures share: size, colours, labels, and how they are saved."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jgmm._atomic import printable, write_whole

# Okabe and Ito (2008): told apart by the colour-blind too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, LINE = "#222222", "#666666", "#E6E6E6"
TITLE, TEXT, SMALL = 13, 11, 10  # points
DPI = 144
_LONGEST = 60  # characters of a title


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix, PNG without one; whole or not at all.

    Raises:
      ValueError: a format that matplotlib does not know.
      OSError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> from jgmm.plot import learning_curve
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(learning_curve([1.0, 2.0]), f"{folder}/curve.png")
    """
    kind = Path(path).suffix[1:].lower() or "png"
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=DPI)
    write_whole(path, drawn.getvalue())


def blank(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure, its size in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
    if layout == "constrained":
        figure.set_layout_engine("constrained", rect=(0.01, 0.015, 0.98, 0.97))  # a margin
    FigureCanvasAgg(figure)
    return figure


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
