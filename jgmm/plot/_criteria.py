"""Information criteria against the number of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jgmm.fitting.family_sweeps import FamiliesResult
from jgmm.fitting.sweeps import SweepResult
from jgmm.plot._canvas import INK, SMALL, dress, legend, literal, new_axes, styles_for

NdArray = npt.NDArray[Any]
_INSIDE = 6  # so many names are among the curves; of more the legend is beside the axes
_ROWS, _COLUMNS = 20, 8  # names in a column there, and columns at most


def criteria(
    n_components: npt.ArrayLike | SweepResult | FamiliesResult,
    curves: Mapping[str, npt.ArrayLike] | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Information criteria against the number of components, the least of each marked.

    Of more than six curves the legend is beside the axes. Of more than seven, the colours come
    again with other dashes and markers.

    Args:
      n_components: what `sweep` or `sweep_families` returns, or the numbers of components [S].
      curves: name -> values [S], or [S, R] of which the least of each row counts; by default the
        BIC and the ICL of a sweep, or the BIC of each family. Of families ``r.curves("icl")`` are
        others.
      ax: axes to draw into; by default those of a new figure.
      title: a heading.

    Returns:
      The axes.

    Raises:
      ValueError: no curve, or one of another length.

    Example:
      >>> criteria([1, 2, 3], {"BIC": [9.0, 5.0, 6.0]}).lines[0].get_ydata().tolist()
      [9.0, 5.0, 6.0]
    """
    what = "criterion"
    if isinstance(n_components, FamiliesResult):
        if curves is None:
            what, curves = "BIC", n_components.curves("bic")
        n_components = n_components.n_components
    elif isinstance(n_components, SweepResult):
        curves = {"BIC": n_components.bic, "ICL": n_components.icl} if curves is None else curves
        n_components = n_components.n_components
    ks = np.asarray(n_components)
    order = np.argsort(ks)
    if not curves:
        raise ValueError("curves: expected at least one, or the result of a sweep, got none")
    rows: list[NdArray] = []
    least: list[int] = []
    for name, given in curves.items():
        values = np.asarray(given, np.float64)
        if values.ndim not in (1, 2) or len(values) != len(ks):
            raise ValueError(f"{name}: expected {len(ks)} values, got shape {values.shape}")
        values = values.reshape(len(ks), -1)
        values = np.where(np.isfinite(values), values, np.inf).min(axis=1)[order]
        values = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(values).all():
            raise ValueError(f"{name}: expected at least one finite value, got none")
        rows.append(values)
        least.append(int(np.nanargmin(values)))
    names = [f"{name}, least at k = {ks[order][i]}" for name, i in zip(curves, least, strict=True)]
    many = len(curves) > _INSIDE
    size, where = _beside(names) if many else ((6.8, 4.2), {})
    ax = new_axes(ax, *size)
    lines: list[Artist] = []
    for values, i, look in zip(rows, least, styles_for(len(curves)), strict=True):
        lines += ax.plot(ks[order], values, lw=1.8, ms=3.5, **look)
        face = "none" if many else "white"  # which hides what is behind
        mark = {**look, "ls": "none", "ms": 9, "mfc": face, "mew": 1.8}
        ax.plot(ks[order][i], values[i], **mark)
    legend(ax, lines, names, fontsize=SMALL, labelcolor=INK, **where)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    dress(ax, "number of components k", f"{what} (the least is the best)", title)
    return ax


def _beside(names: Sequence[str]) -> tuple[tuple[float, float], dict[str, Any]]:
    """The size of a figure with a legend beside the axes, in inches, and its options."""
    columns = min(-(-len(names) // _ROWS), _COLUMNS)
    longest = max(len(literal(name)["text"]) for name in names)
    return (6.8 + columns * (0.8 + 0.07 * longest), 5.4), {
        "loc": "upper left",
        "bbox_to_anchor": (1.0, 1.0),
        "borderaxespad": 0,
        "handlelength": 3.2,  # so that dashes can be told apart
        "ncols": columns,
    }
