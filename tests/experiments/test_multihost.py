"""Several processes fit what one does, whatever their shares."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import multihost
from jgmm.image import write_png

ROOT = Path(__file__).resolve().parents[2]


def test_several_processes_are_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = (rng.integers(0, 3, (31, 20, 1)) * 60 + rng.normal(size=(31, 20, 3)) * 9 + 40).clip(0)
    write_png(tmp_path / "a.png", image[:12].astype(np.uint8))  # a share has rows of both
    write_png(tmp_path / "b.png", image[12:, 3:].astype(np.uint8))
    command = ["-m", "experiments.multihost", "--rows", "20,0,11", "-k", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, *command, "--image", str(tmp_path / "a.png"), str(tmp_path / "b.png")],
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
    others = re.findall(r"relative difference is (\S+) at most", done.stdout)
    assert len(others) == 4
    assert max(map(float, others)) < 1e-3


def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    write_png(tmp_path / "grey.png", np.zeros((4, 5), np.uint8))
    one, grey = str(tmp_path / "a.png"), str(tmp_path / "grey.png")
    for given, message in (
        (["--image", str(tmp_path / "missing.png")], "missing.png"),
        (["--image", one, grey], "expected images of one kind, got 1 channels of uint8 and 3"),
        (["--image", one, one, "--rows", "4,3"], "expected --rows that add up to 8, got 7"),
        (["--image", one, "--rows", "5,-1"], "expected --rows such as 3,0,1, got 5,-1"),
        (["--processes", "0"], "expected --processes of at least 1, got 0"),
    ):
        assert multihost.main(given) == 2
        said = capsys.readouterr().err
        assert said.startswith("multihost: ")
        assert message in said
        assert said.count("\n") == 1


def test_where_one_is_killed_the_others_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    np.save(tmp_path / "a.npy", np.zeros((20, 10, 3), np.uint8))
    arguments = argparse.Namespace(k=2, heartbeat=10)
    workers = multihost.start(arguments, [10, 10], [str(tmp_path / "a.npy")])
    for worker in workers:  # until both have their share
        assert worker.stdout is not None
        assert any(line == "begun\n" for line in worker.stdout)
    workers[1].kill()
    start = time.monotonic()
    codes = multihost.awaited(workers)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL)  # it ended by itself
    assert time.monotonic() - start < 2 * multihost.HEARTBEAT
    assert "process 1 ended with status -9" in capsys.readouterr().err
    for worker in workers:
        worker.communicate()
