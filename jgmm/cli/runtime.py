"""What a program of its own may set up that a library may not: caches, precision, silence."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings

from jgmm._atomic import discard_pending
from jgmm.data.kept import keep_programs


def prepare(debug: bool = False) -> None:
    """Set JAX up for the command line: keep compiled programs, and let no log line through."""
    if not debug:
        warnings.simplefilter("ignore")
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # jax's own default
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        for name in ("jax", "matplotlib", "absl"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # Where nothing can be written, or by others too, it is compiled anew each time.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        keep_programs()


def end_at_once_on_signals() -> None:
    """Ctrl-C and a request to terminate end the process without a word and leave no half file.

    Python's own exception would wait for fits that run in threads, and can get lost in callbacks.
    """

    def end(number: int, frame: object) -> None:
        discard_pending()
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # a live display hides the cursor
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, end)
