"""What a program of its own may set up that a library may not: caches, precision, silence."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import jax


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
