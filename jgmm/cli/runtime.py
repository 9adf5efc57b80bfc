"""What a program of its own may set up that a library may not: caches, precision, silence."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import jax

from jgmm._atomic import discard_pending


def prepare(debug: bool = False) -> None:
    """Set JAX up for the command line: keep compiled programs, and let no log line through."""
    if not debug:
        warnings.simplefilter("ignore")
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # jax's own default
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        for name in ("jax", "matplotlib", "absl"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:  # the user's own choice
        return
    folder = cache_folder()
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # By default only what took a second to compile is kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


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


def cache_folder() -> Path | None:
    """The folder for compiled programs in the user's cache, made if need be; None if it cannot."""
    try:
        folder = _user_cache() / "jgmm"
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError):
        return None
    return folder


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"
