"""The tour runs from its first cell to its last, as it stands."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

TOUR = Path(__file__).resolve().parents[2] / "experiments" / "tour.ipynb"


def _kinds(cells: list[Any]) -> list[list[Any]]:
    """What each cell shows; what is printed comes in one piece or several, as time falls."""
    kinds = [
        [output.get("name") or sorted(output["data"]) for output in cell.outputs] for cell in cells
    ]
    return [[kind for kind, _ in itertools.groupby(shown)] for shown in kinds]


@pytest.mark.filterwarnings("ignore")  # of the machinery of notebooks; cells run in another process
def test_the_tour_runs_and_its_outputs_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    tour = nbformat.read(TOUR, 4)
    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells)
    assert TOUR.stat().st_size < 200_000
    shown = _kinds(cells)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JGMM_TEST_PROGRAMS"])
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    folder = {"metadata": {"path": str(TOUR.parent)}}
    ran = nbclient.NotebookClient(tour, timeout=600, kernel_name="python3", resources=folder)
    ran.execute()
    outputs = [output for cell in cells for output in cell.outputs]
    for output in outputs:  # a picture of Pillow comes as PNG and JPEG, of which one is kept
        if "image/jpeg" in output.get("data", {}):
            del output["data"]["image/png"]
    assert _kinds(cells) == shown
    assert outputs[-1]["data"]["text/plain"] == "True"
    assert not any(output.get("name") == "stderr" for output in outputs)
