"""Compiled programs kept in a folder, for other processes: neither traced nor compiled again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pickle
import platform
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.stages import Compiled

from jgmm._atomic import write_whole
from jgmm.data import lapack

_MOST_FILES, _MOST_VERSIONS = 500, 3
_SUFFIX = ".program"

_folder: Path | None = None
_compiling = threading.local()


def keep_programs(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keep what is compiled from now on in a folder, and take from there what others compiled.

    The first `fit` of a process then takes a fraction of a second. Several processes may share the
    folder; what is damaged is compiled anew; of programs that are not used for long, and of
    other versions, few stay. JAX's own cache of compiled code is set up in the same folder, unless
    it is in use already (``jax_compilation_cache_dir``).

    Args:
        folder: made if need be; None means ``jgmm`` in the user's folder for caches.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be made or written to.
        ValueError: others may write to it. What is read from there is run.

    Example:
        >>> folder = jgmm.keep_programs()  # doctest: +SKIP
    """
    place = default_folder() if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _expect_own(place)
    version = place / hashlib.sha256(_here().encode()).hexdigest()[:16]
    version.mkdir(exist_ok=True)
    write_whole(version / "used", b"")
    _drop_versions(place)
    global _folder
    if _folder is None:
        jax.monitoring.register_event_listener(_listen)
    _folder = version
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(version))
        # By default only what took a second to compile is kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    lapack.begin()
    return place


def default_folder() -> Path:
    """``jgmm`` in the user's folder for caches."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jgmm"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "jgmm"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "jgmm"


def _expect_own(folder: Path) -> None:
    if not hasattr(os, "getuid"):
        return
    about = folder.stat()
    if about.st_uid != os.getuid() or about.st_mode & stat.S_IWOTH:
        raise ValueError(
            "folder: expected one that only you can write to, because programs in it are run; "
            f"got {folder}"
        )


def _drop_versions(place: Path) -> None:
    """Leave what the versions of jgmm and JAX that were used last have kept."""
    used = sorted(place.glob("*/used"), key=lambda file: file.stat().st_mtime)
    for file in used[:-_MOST_VERSIONS]:
        shutil.rmtree(file.parent, ignore_errors=True)


def _listen(event: str, **about: Any) -> None:
    """Note that JAX's own cache had a program: what was read cannot be written."""
    if event.endswith("/cache_hits"):
        _compiling.found = True


def compiled(compile: Callable[[], Compiled], place: Path | None) -> Compiled:
    """A program, and kept in that place, if there is one and it can be done."""
    _compiling.found = False
    program = compile()
    if place is not None and not _compiling.found:
        _save(place, program)
    return program


def place_of(function: Callable[..., Any], fixed: dict[str, Any], kind: Any) -> Path | None:
    """Where a program is kept, or None if it is not.

    Args:
        function: what was compiled.
        fixed: arguments that it was compiled for.
        kind: of the other arguments, the compiler's options and JAX's settings.
    """
    # What the functions that a function makes do, their names do not say.
    if _folder is None or "<" in function.__qualname__:
        return None
    what = repr((function.__module__, function.__qualname__, fixed, kind))
    # Functions and meshes are told by an address, or by devices.
    if " at 0x" in what or "Mesh" in what or "Sharding" in what:
        return None
    name = hashlib.sha256(f"{_here()} {what}".encode()).hexdigest()
    return _folder / (name + _SUFFIX)


def load(place: Path, traced: Any) -> tuple[Compiled, Any] | None:
    """The program kept there, and its result for some arguments; None if there is none that works.

    A file that is damaged, or of no use here, goes.
    """
    try:
        digest, body = _split(place.read_bytes())
        if digest != _digest(place, body):
            raise ValueError("damaged")
        payload, out = pickle.loads(body)
        trees = jax.tree.structure(((traced,), {})), jax.tree.structure(out)
        program: Compiled = serialize_executable.deserialize_and_load(payload, *trees)
        result = jax.block_until_ready(program(traced))
        place.touch()  # what was not used for longest goes first
    except FileNotFoundError:
        return None
    except Exception:
        with contextlib.suppress(OSError):
            place.unlink()
        return None
    return program, result


def _save(place: Path, program: Compiled) -> None:
    """Keep a program, if that can be done."""
    with contextlib.suppress(Exception):
        payload, _, out = serialize_executable.serialize(program)
        body = pickle.dumps((payload, jax.tree.unflatten(out, range(out.num_leaves))))
        write_whole(place, _digest(place, body) + body)
        _tidy(place.parent)


def _digest(place: Path, body: bytes) -> bytes:
    """Of a program under its name: another in its place is as bad as half of it."""
    return hashlib.sha256(place.name.encode() + body).digest()


def _split(content: bytes) -> tuple[bytes, bytes]:
    size = hashlib.sha256().digest_size
    return content[:size], content[size:]


def _tidy(folder: Path) -> None:
    """Leave the programs that were used last."""
    files = list(folder.glob("*" + _SUFFIX))
    if len(files) > _MOST_FILES:
        files.sort(key=lambda file: file.stat().st_mtime)
        for file in files[: len(files) - _MOST_FILES]:
            file.unlink(missing_ok=True)


@functools.cache
def _here() -> str:
    """This code, this JAX and this processor: a program of others is another."""
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        code.update(file.read_bytes())
    return repr(
        (
            code.hexdigest(),
            jax.__version__,
            importlib.metadata.version("jaxlib"),
            os.environ.get("XLA_FLAGS"),
            platform.platform(),
            _processor(),
        )
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = ("model name", "flags", "Features", "CPU part")
        return repr(sorted({line for line in lines if line.startswith(told)}))
    return platform.processor()
