"""Steps at borders: rows and scales are chosen on one half, and measured on the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import annotated

from experiments import merging_steps as merging


def test_rows_are_chosen_on_the_other_half() -> None:
    # Two photographs, one scale: each half has its own best row, which is worse for the other.
    found = np.zeros((2, 2, 1, 4))
    found[..., 3] = 1
    found[0, :, 0, :3] = [[0.9, 1.0, 0.9], [0.4, 3.0, 0.4]]
    found[1, :, 0, :3] = [[0.5, 2.0, 0.5], [0.8, 1.5, 0.8]]
    measures, each = merging.chosen(found, 3)
    np.testing.assert_allclose(each, [[0.5, 2.0, 0.5], [0.4, 3.0, 0.4]])
    np.testing.assert_allclose(measures, [0.45, 2.5, 0.45])


@pytest.mark.usefixtures("plain_process")
def test_it_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    annotated(tmp_path, noise=8)
    out = tmp_path / "figures.json"
    monkeypatch.setattr(merging, "STEPS", [(2.0, 1.0), (0.5, 1.25)])
    assert merging.main(["--data", str(tmp_path), "--json", str(out), "--halvings", "1"]) == 0
    assert "| power 1.25, mean of powers of 0.5 | 0." in capsys.readouterr().out
    figures = json.loads(out.read_text())["figures"]
    assert all(row["held out"][0] > 0.6 for row in figures.values())
    np.testing.assert_allclose(figures["power 1, mean of powers of 2"]["gain"], 0)
    assert merging.main(["--data", str(tmp_path), "--limit", "1"]) == 0
    assert "nothing to measure" in capsys.readouterr().out
