"""The times of single steps as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jgmm import plot


def draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One row of bars for each case: milliseconds per EM step of each library."""
    if not results:
        return
    figure = Figure(figsize=(7.5, 2.6 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, result in zip(
        figure.subplots(len(results), squeeze=False)[:, 0], results.values(), strict=True
    ):
        times = dict(sorted(result["ms_per_step"].items(), key=lambda item: item[1]))
        bars = ax.barh(list(times), list(times.values()), color=plot.PALETTE[0])
        ax.bar_label(bars, [f"{value:.3g}" for value in times.values()], padding=3)
        ax.set(xscale="log", xlabel="milliseconds per EM step")
        ax.set_title(
            f"N = {result['n']:,}, D = {result['d']}, K = {result['k']}, {result['covariance']}",
            loc="left",
        )
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    plot.save(figure, path)
