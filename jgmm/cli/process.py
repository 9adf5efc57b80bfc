"""The process: its streams, the signals it gets, its environment.

All this is settled before JAX loads. Until Ctrl-C is answered to, little is imported: it would show
a traceback there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

MENDABLE, INTERNAL, UNHEARD = 2, 1, 128 + 13  # exit status; the last as after SIGPIPE

_last_words: list[str] = []  # on standard error, where a signal ends the process
_MOST_DEVICES = 1024  # each of which starts threads


def open_streams() -> None:
    """Give streams that are closed to the null device.

    Otherwise the next file that is opened would be taken for one of them, by libraries in C too.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def end_at_once_on_signals() -> None:
    """Ctrl-C and a request to terminate end the process and leave no half file.

    Without a word, but for those of `parting`.
    Python's own exception would wait for fits that run in threads, and can get lost in callbacks.
    """

    def end(number: int, frame: object) -> None:
        writing = sys.modules.get("jgmm._atomic")
        if discard := getattr(writing, "discard_pending", None):  # else nothing was written yet
            discard()
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # a live display hides the cursor
        for message in _last_words:
            with suppress(OSError):
                os.write(2, f"jgmm: {message}\n".encode())
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not all systems have all
        if number and signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, end)


@contextmanager
def parting(message: str) -> Iterator[None]:
    """Say this, where a signal ends the process meanwhile."""
    _last_words.append(message)
    try:
        yield
    finally:
        _last_words.remove(message)


def settle_environment() -> None:
    """Take out of the environment what need not matter, and look at what would abort the process.

    Raises:
        ValueError: what the user set wrong.
        RuntimeError: the system gives too few threads.
    """
    os.environ.pop("MPLBACKEND", None)  # figures are drawn into files
    os.environ["FC_LANG"] = "en"  # matplotlib runs fc-list, which complains of unknown languages
    if not os.path.isfile(os.environ.get("MATPLOTLIBRC", "")):
        os.environ.pop("MATPLOTLIBRC", None)  # of a device matplotlib would read on and on
    if not debugging() and os.environ.get("TF_CPP_MIN_LOG_LEVEL") not in ("0", "2", "3"):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # no log lines
    if flags := os.environ.get("XLA_FLAGS", ""):
        _expect_flags(flags)
    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    if devices.isdigit() and (len(devices) > 9 or int(devices) > _MOST_DEVICES):
        shown = f"{devices[:9]}…" if len(devices) > 9 else devices
        raise ValueError(f"JAX_NUM_CPU_DEVICES: expected at most {_MOST_DEVICES}, got {shown}")
    _expect_threads(min(12 + 6 * (os.cpu_count() or 1), 256))


def _expect_flags(flags: str) -> None:
    """Have another process look at XLA's flags: it ends the one that has any it does not know."""
    import subprocess

    code = (
        "from jaxlib import xla_client; print('loaded', flush=True)\n"
        "xla_client.CompileOptions().executable_build_options.debug_options"
    )
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True)
    if tried.stdout.strip() == b"loaded" and tried.returncode and b"XLA_FLAGS" in tried.stderr:
        raise ValueError(f"XLA_FLAGS: expected flags that XLA knows, got {flags!r}")


def _expect_threads(count: int) -> None:
    """Start as many threads as JAX and BLAS will, which abort where they get none."""
    enough = threading.Event()
    threads = [threading.Thread(target=enough.wait, daemon=True) for _ in range(count)]
    started = 0
    try:
        for thread in threads:
            thread.start()
            started += 1
    except RuntimeError:
        raise RuntimeError(
            f"expected {count} threads to be had, got {started} (see ulimit -u)"
        ) from None
    finally:
        enough.set()
        for thread in threads[:started]:
            thread.join()


def complain(message: str) -> None:
    """One line on standard error, if anybody listens there."""
    try:
        print(f"jgmm: {shown(' '.join(message.split()), sys.stderr)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def shown(text: str, stream: TextIO | None) -> str:
    """The text on one line, without anything that a stream cannot show."""
    from jgmm._atomic import printable

    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def silence(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, where Python would complain of it at the end."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # no file, as in tests
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def debugging() -> bool:
    """Whether to show where errors come from."""
    return os.environ.get("JGMM_DEBUG", "") not in ("", "0")
