"""Ends at any moment, and settings of any value, in processes of their own.

Few by default, as each takes seconds: JGMM_HOSTILE_PROCESSES says how many.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from budget import PROCESSES
from oracles import whole
from pictures import picture, write

import jgmm

ROOT = os.fspath(Path(jgmm.__file__).parents[1])
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")  # every other time; else SIGKILL
VARIABLES = [
    *("JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_NUM_CPU_DEVICES", "JAX_DEBUG_NANS", "XLA_FLAGS"),
    *("JAX_NUMPY_RANK_PROMOTION", "JAX_NUMPY_DTYPE_PROMOTION", "JAX_TRANSFER_GUARD", "MPLBACKEND"),
    *("JAX_COMPILATION_CACHE_DIR", "JAX_DEFAULT_PRNG_IMPL", "JAX_DEFAULT_MATMUL_PRECISION"),
    *("TF_CPP_MIN_LOG_LEVEL", "XDG_CACHE_HOME", "HOME", "MPLCONFIGDIR", "MATPLOTLIBRC", "TERM"),
    *("COLUMNS", "NO_COLOR", "FORCE_COLOR", "JGMM_MOST_PIXELS", "JGMM_DEBUG", "LC_ALL", "TMPDIR"),
]
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "x",
    "raise",
    "strict",
    "disallow",
    "cpu",
    "/nowhere",
    "/dev/full",
    "9" * 99,
]


def start(place: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    cache = {"XDG_CACHE_HOME": os.fspath(place / "cache"), "PYTHONWARNINGS": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "jgmm", *arguments],
        cwd=place,
        env=os.environ | cache | {"PYTHONPATH": ROOT} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image that has been segmented once, so that what is compiled is there."""
    folder = tmp_path_factory.mktemp("process")
    write(os.fspath(folder / "x.png"), picture())
    child = start(folder, "segment", "x.png", "-k", "2,3", "-q")
    assert child.communicate(timeout=300) == ("", "")
    assert child.returncode == 0
    return folder


@pytest.mark.parametrize("seed", range(PROCESSES))
def test_an_end_at_any_moment_leaves_whole_files(seed: int, place: Path) -> None:
    rng = random.Random(seed)
    name = SIGNALS[seed // 2 % len(SIGNALS)] if seed % 2 else "SIGKILL"
    child = start(place, "segment", "x.png", "-k", "2,3")
    assert child.stdout is not None
    child.stdout.readline()  # it has begun
    time.sleep(rng.random())
    child.send_signal(getattr(signal, name))
    _, said = child.communicate(timeout=60)
    assert said == ""
    assert child.returncode in (0, -signal.SIGKILL, 128 + getattr(signal, name))
    whole(place / "jgmm-out")


def test_the_next_run_succeeds(place: Path) -> None:
    child = start(place, "segment", "x.png", "-k", "2,3", "-q")
    assert child.communicate(timeout=300) == ("", "")
    assert child.returncode == 0
    whole(place / "jgmm-out")
    assert (place / "jgmm-out/x/summary.json").is_file()


@pytest.mark.parametrize("seed", range(PROCESSES))
def test_settings_of_any_value(seed: int, place: Path) -> None:
    rng = random.Random(seed)
    settings = {name: rng.choice(VALUES) for name in rng.sample(VARIABLES, rng.randint(1, 3))}
    settings.pop("JGMM_DEBUG", None)
    child = start(place, "segment", "x.png", "-k", "2,3", "-q", "-o", "set", **settings)
    out, said = child.communicate(timeout=300)
    assert child.returncode in (0, 2), (settings, said)
    assert out == ""
    assert said.count("\n") == (child.returncode == 2), (settings, said)
    if (place / "set").exists():
        whole(place / "set")
