"""Information criteria against the number of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jgmm.plot._canvas import INK, SMALL, blank, dress, legend, literal, styles_for

_INSIDE = 6  # so many names are among the curves; of more the legend is beside the axes
_ROWS, _COLUMNS = 20, 8  # names in a column there, and columns at most


def criteria(
    n_components: npt.ArrayLike, curves: Mapping[str, npt.ArrayLike], *, title: str | None = None
) -> Figure:
    """Information criteria against the number of components, the least of each marked.

    Of more than six curves the legend is beside the axes. Of more than seven, the colours come
    again with other dashes and markers.

    Args:
      n_components: [S].
      curves: name -> values [S], or [S, R] of which the least of each row counts. Of a
        `SweepResult`: ``criteria(r.n_components, {"BIC": r.bic, "ICL": r.icl})``; of what
        `sweep_families` returns: ``criteria(r.n_components, r.curves("bic"))``.
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
    many = len(curves) > _INSIDE
    figure = blank(6.8, 4.2)
    ax = figure.add_subplot()
    lines: list[Artist] = []
    names: list[str] = []
    for (name, given), look in zip(curves.items(), styles_for(len(curves)), strict=True):
        values = np.asarray(given, np.float64)
        if values.ndim not in (1, 2) or len(values) != len(ks):
            raise ValueError(f"{name}: expected {len(ks)} values, got shape {values.shape}")
        values = values.reshape(len(ks), -1)
        values = np.where(np.isfinite(values), values, np.inf).min(axis=1)[order]
        values = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(values).all():
            raise ValueError(f"{name}: expected at least one finite value, got none")
        least = int(np.nanargmin(values))
        names.append(f"{name}, least at k = {ks[order][least]}")
        lines += ax.plot(ks[order], values, lw=1.8, ms=3.5, **look)
        face = "none" if many else "white"  # which hides what is behind
        mark = {**look, "ls": "none", "ms": 9, "mfc": face, "mew": 1.8}
        ax.plot(ks[order][least], values[least], **mark)
    legend(
        ax, lines, names, fontsize=SMALL, labelcolor=INK, **(_beside(figure, names) if many else {})
    )
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    dress(ax, "number of components k", "criterion (the least is the best)", title)
    return figure


def _beside(figure: Figure, names: Sequence[str]) -> dict[str, Any]:
    """Options of a legend beside the axes; the figure becomes larger by what it takes."""
    columns = min(-(-len(names) // _ROWS), _COLUMNS)
    longest = max(len(literal(name)["text"]) for name in names)
    figure.set_size_inches(6.8 + columns * (0.8 + 0.07 * longest), 5.4)
    return {
        "loc": "upper left",
        "bbox_to_anchor": (1.0, 1.0),
        "borderaxespad": 0,
        "handlelength": 3.2,  # so that dashes can be told apart
        "ncols": columns,
    }
