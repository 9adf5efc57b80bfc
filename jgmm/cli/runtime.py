"""What a program of its own may set up that a library may not: caches, precision, silence."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import jax

_PLAIN = {
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": "allow",
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_check_tracer_leaks": False,
    "jax_disable_jit": False,
    "jax_enable_x64": False,
    "jax_log_compiles": False,
}


def prepare(debug: bool = False) -> None:
    """Set JAX up for the command line: keep compiled programs, and let no log line through."""
    if not debug:
        warnings.simplefilter("ignore")
        for name in ("jax", "matplotlib", "absl"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # Meant for programs that their authors look into, not for one that has been looked into.
    for name, value in _PLAIN.items():
        if hasattr(jax.config, name):
            jax.config.update(name, value)
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:  # the user's own choice
        return
    folder = cache_folder()
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # By default only what took a second to compile is kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


class SetupError(Exception):
    """The environment does not let JAX work."""


def expect_devices() -> None:
    """Have JAX find its devices.

    Raises:
        SetupError: it finds none, as the user has set it up.
    """
    try:
        jax.devices()
    except Exception as error:
        names = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES")
        given = [f"{name}={os.environ[name]!r}" for name in names if name in os.environ]
        what = " ".join(str(error).split()) or "no such device"
        raise SetupError(f"JAX finds no device with {', '.join(given) or 'them'}: {what}") from None


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
