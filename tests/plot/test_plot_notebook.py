"""Figures show in a notebook by themselves, once, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

SETUP = """
import threading
import numpy as np
from matplotlib.figure import Figure
from jgmm import Mixture, plot
mixture = Mixture(np.ones(1), np.full((1, 3), 0.5), np.eye(3)[None])
grey = np.zeros((4, 6), np.uint8)
"""
CELLS = {  # and how many pictures come of it
    "plot.comparison(grey, {3: grey}, {3: 1.0})": 1,  # first, before pyplot is there
    "plot.components(mixture)": 1,
    "a, b = plot.learning_curve([1.0, 2.0]), plot.colours([[0.5, 0.5, 0.5]], mixture)": 2,
    "plot.palette(mixture, ax=Figure().add_subplot())": 0,
    "plot.certainty(np.ones(3))": 0,
    "plot.components(mixture, np.ones(3))": 0,
    "plot.criteria([1, 2], {'BIC': [1.0]})": 0,
    """
thread = threading.Thread(target=plot.palette, args=(mixture,))
thread.start()
thread.join()
""": 0,
}


@pytest.mark.filterwarnings("ignore")  # of the machinery of notebooks; cells run in another process
def test_a_new_figure_is_shown_once_at_the_end_of_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *CELLS)]
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=folder, allow_errors=True
    ).execute()
    assert not notebook.cells[0].outputs
    for cell, pictures in zip(notebook.cells[1:], CELLS.values(), strict=True):
        shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(shown) == pictures, cell.source
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        assert errors == (["ValueError"] if "(3))" in cell.source or "[1.0]" in cell.source else [])
