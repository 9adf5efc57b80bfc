"""What a program of its own may set up that a library may not: caches, precision, silence."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings

import jax

from jgmm.data.kept import keep_programs

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
    # Where nothing can be written, or by others too, it is compiled anew each time.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        keep_programs()


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
