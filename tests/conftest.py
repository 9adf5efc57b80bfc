"""What all tests run under: both precisions, and no silent change of dtype."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import pytest

from jgmm.cli import runtime as _runtime

# Programs that a shell starts in the background ignore interrupts, and so would those that tests
# start and interrupt.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What JAX traces and compiles are millions of objects that stay. To look through them as often as
# Python does takes 7% of the time.
gc.set_threshold(200_000, 20, 50)
gc.freeze()

# The same examples each time: a test that fails, fails again.
hypothesis.settings.register_profile(
    "jgmm", deadline=None, max_examples=10, derandomize=True, database=None
)
hypothesis.settings.load_profile("jgmm")


_PROGRAMS = "JGMM_TEST_PROGRAMS"  # the folder, for the processes that the run is shared out over


def pytest_configure(config: pytest.Config) -> None:
    """What one process of a run has compiled, the others and later files need not compile again.

    The folder is empty at the beginning and gone at the end: programs are compiled as users' are.
    """
    if _PROGRAMS not in os.environ:
        os.environ[_PROGRAMS] = folder = tempfile.mkdtemp(prefix="jgmm-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop(_PROGRAMS, None))
    jax.config.update("jax_compilation_cache_dir", os.environ[_PROGRAMS])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """float64 beside float32, and strict promotion, for the tests of this folder.

    Not for the whole process: the examples in the docstrings of the package run as a user who
    has set up nothing sees them.
    """
    if Path(__file__).parent not in item.path.parents:  # pytest-xdist calls this for all
        return (yield)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs stay for the files to come, but for when there are too many.

    Each is a few maps of memory, of which Linux gives a process 65,530; XLA aborts at the end.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 10_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photographs beside the checkout, or where JGMM_SHARED_DATA says."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("JGMM_SHARED_DATA", beside))
    if not (folder / "scenery.jpg").is_file():
        pytest.skip("the shared photographs are not here")
    return folder


@pytest.fixture
def plain_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither caches nor settings of the test process change; precision as for users."""
    monkeypatch.setattr(_runtime, "prepare", lambda debug=False: None)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
