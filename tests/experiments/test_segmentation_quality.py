"""The quality study, on two photographs made up for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pictures import annotated

from experiments import segmentation_quality as quality


@pytest.mark.usefixtures("plain_process")
def test_it_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotated(tmp_path)
    out = tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "--json", str(out), "--methods", "recommended"]
    assert quality.main([*arguments, "--limit", "2"]) == 0
    assert "| recommended | regions | 10 |" in capsys.readouterr().out
    figures = json.loads(out.read_text())["figures"]["recommended"]
    assert figures["regions"]["ods"]["covering"] > 0.95
    assert figures["labels"]["ois"]["covering"] >= figures["labels"]["ods"]["covering"]


def test_without_photographs_there_is_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quality.main(["--data", str(tmp_path)]) == 0
    assert "nothing to measure" in capsys.readouterr().out
