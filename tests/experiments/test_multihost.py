"""Several processes fit what one does, whatever their shares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from jgmm.image import write_png

ROOT = Path(__file__).resolve().parents[2]


def test_several_processes_are_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = (rng.integers(0, 3, (31, 20, 1)) * 60 + rng.normal(size=(31, 20, 3)) * 9 + 40).clip(0)
    write_png(tmp_path / "a.png", image.astype(np.uint8))
    command = ["-m", "experiments.multihost", "--rows", "20,0,11", "-k", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, *command, "--image", str(tmp_path / "a.png")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    values = re.findall(r"(-[0-9.]+) nats", done.stdout)
    assert len(values) == 4
    assert np.ptp(np.array(values, float)) < 1e-5
    gap = re.search(r"differ by (\S+) at most", done.stdout)
    assert gap is not None
    assert float(gap[1]) < 0.02
