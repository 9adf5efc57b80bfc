"""Streams, signals and the environment: what is wrong with them is one line, or does not matter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pictures import picture, write

from jgmm.cli import app as cli
from jgmm.cli import process
from jgmm.cli.entry import main

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")


def run(
    *arguments: str, environment: dict[str, str] | None = None, before: Sequence[str] = ()
) -> Any:
    command = [*before, sys.executable, "-m", "jgmm", *arguments]
    place = {"XDG_CACHE_HOME": os.fspath(Path("cache").resolve()), "PYTHONWARNINGS": ""}
    root = os.fspath(Path(cli.__file__).parents[2])
    known = os.environ | place | {"PYTHONPATH": root} | (environment or {})
    return subprocess.run(command, env=known, capture_output=True, text=True)


def one_line(said: str) -> str:
    assert said.startswith("jgmm: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.usefixtures("plain_process")
@pytest.mark.parametrize("arguments", [["--help"], ["segment", "x.png"]])
def test_a_reader_that_went_away_ends_it_quietly(
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("x.png", picture())
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(arguments) == 141
    assert capsys.readouterr().err == ""
    assert list(Path().glob("**/.*")) == []


@needs_full
@pytest.mark.usefixtures("plain_process")
@pytest.mark.parametrize("arguments", [["--help"], ["segment", "x.png"]])
def test_a_stream_that_is_full_is_said_once(
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("x.png", picture())
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(arguments) == 2
    assert "cannot write to standard output: No space left" in one_line(capsys.readouterr().err)


@needs_full
def test_errors_that_nobody_can_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        process.complain("x")


def test_status_without_streams(folder: Path) -> None:
    # Whatever is opened next takes the numbers that are free.
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = run("segment", "missing.png", before=closed)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_an_interrupt_while_jax_is_imported(folder: Path) -> None:
    Path("jax.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    root = os.fspath(Path(cli.__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-m", "jgmm"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.fspath(folder), root])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "importing\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30) == ("", "")
    assert child.returncode == 130


def test_what_is_said_where_a_signal_ends_a_run_that_can_go_on() -> None:
    code = (
        "import os, signal\nfrom jgmm.cli import process\nprocess.end_at_once_on_signals()\n"
        "with process.parting('before'):\n    pass\n"
        "with process.parting('goes on'):\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    root = os.fspath(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "jgmm: goes on\n")


def test_what_would_never_end_or_take_all_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATPLOTLIBRC", "/dev/full")  # where there is no end of what is read
    process.settle_environment()
    assert "MATPLOTLIBRC" not in os.environ
    (tmp_path / "rc").write_text("text.usetex: True")
    monkeypatch.setenv("MATPLOTLIBRC", os.fspath(tmp_path / "rc"))
    process.settle_environment()
    assert "MATPLOTLIBRC" in os.environ
    for number, got in (("1025", "1025"), ("9" * 5000, "999999999…")):
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", number)
        with pytest.raises(ValueError, match=f"expected at most 1024, got {got}"):
            process.settle_environment()


def test_fonts_are_listed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("fc-list") is None:
        pytest.skip("there is no fontconfig here")
    monkeypatch.setenv("LC_ALL", "nonsense")
    monkeypatch.setenv("FC_LANG", "nonsense")
    process.settle_environment()
    assert subprocess.run(["fc-list"], capture_output=True).stderr == b""


def test_little_is_imported_before_interrupts_are_answered() -> None:
    code = "import sys, jgmm.cli; print(*sys.modules)"
    root = os.fspath(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, capture_output=True
    )
    loaded = done.stdout.decode().split()
    assert {name for name in loaded if name.startswith("jgmm")} == {
        *("jgmm", "jgmm.cli", "jgmm.cli.entry", "jgmm.cli.process")
    }
    assert not {"jax", "numpy", "subprocess", "traceback", "pathlib"} & set(loaded)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("JAX_ENABLE_X64", "maybe", "'JAX_ENABLE_X64'"),
        ("XLA_FLAGS", "--nonsense", "XLA_FLAGS: expected flags that XLA knows, got '--nonsense'"),
        ("JAX_PLATFORMS", "nonsense", "JAX finds no device with JAX_PLATFORMS='nonsense'"),
    ],
)
def test_what_is_set_wrong_is_named(name: str, value: str, part: str, folder: Path) -> None:
    write("x.png", picture())
    done = run("segment", "x.png", environment={name: value})
    assert done.returncode == 2
    assert part in one_line(done.stderr)


def test_what_need_not_matter_does_not(folder: Path) -> None:
    write("x.png", picture())
    Path("matplotlibrc").write_text("text.usetex: True\nnonsense: 1\n")
    settings = {
        "MPLBACKEND": "nonsense",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEBUG_NANS": "1",
        "JAX_TRANSFER_GUARD": "disallow",
        "TF_CPP_MIN_LOG_LEVEL": "x",
    }
    done = run("segment", "x.png", "-k", "2", "-q", environment=settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path("jgmm-out/x/summary.json").is_file()


@pytest.mark.usefixtures("plain_process")
def test_settings_of_figures_that_are_no_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it fails
    assert cli.main(["segment", "x.png", "-k", "2", "-q"]) == 2
    assert "matplotlib cannot be set up, see its matplotlibrc" in one_line(capsys.readouterr().err)


def test_no_threads_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    monkeypatch.setattr(process, "end_at_once_on_signals", lambda: None)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    assert main(["segment"]) == 2
    assert "threads to be had, got 0" in one_line(capsys.readouterr().err)
