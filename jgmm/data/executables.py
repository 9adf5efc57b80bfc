"""Compiled programs: found again in memory or in a folder, and let go of when there are many.

`jax.jit` keeps everything it ever compiled. Each program is a few hundred maps of memory, of which
Linux gives a process 65,530, and XLA ends the process that asks for more.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.stages import Compiled

from jgmm.data import kept, lapack

# Of memory maps in the process, and where these cannot be counted, of programs.
_MOST_MAPS, _MOST_PROGRAMS = 15_000, 200
_LEAST = 16  # programs that are kept even where others than these take all the maps
_MODES = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_default_device",
)

_programs: OrderedDict[Any, Compiled] = OrderedDict()  # the one used last is the last
_locks: dict[Any, threading.Lock] = {}
_guard = threading.Lock()


def run(
    function: Callable[..., Any],
    fixed: dict[str, Any],
    traced: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    """``function(**traced, **fixed)``, compiled for what is fixed and the shapes of the rest.

    Args:
        function: of arrays, outside of any trace.
        fixed: arguments that it is compiled for.
        traced: trees of arrays.
        options: of the compiler.
    """
    leaves, tree = jax.tree.flatten(traced)
    kinds = tuple(map(_kind, leaves))
    key = (function, tuple(fixed.items()), tree, kinds, tuple(options.items()), _modes())
    with _guard:
        program = _programs.get(key)
        if program is not None:
            _programs.move_to_end(key)
        else:
            lock = _locks.setdefault(key, threading.Lock())
    if program is not None:
        return program(traced)
    with lock:  # of several threads one compiles
        program = _programs.get(key)
        if program is None:
            return _first(function, fixed, traced, options, key)
    return program(traced)


def _kind(leaf: Any) -> Any:
    """What a program is compiled for."""
    if isinstance(leaf, jax.Array):
        return leaf.aval, leaf.sharding if leaf.committed else None
    return jax.typeof(leaf), None


def _modes() -> tuple[Any, ...]:
    """The settings of JAX that change what a function means."""
    return tuple(getattr(jax.config, name) for name in _MODES)


def _first(
    function: Callable[..., Any],
    fixed: dict[str, Any],
    traced: dict[str, Any],
    options: dict[str, Any],
    key: Any,
) -> Any:
    """The result of a program from the folder, or of one that is compiled."""
    _let_go()
    lapack.begin()
    place = kept.place_of(function, fixed, key[2:])
    found = None
    if place is not None:
        lapack.wait()
        found = kept.load(place, traced)
    if found is None:
        program = kept.compiled(lambda: _compile(function, fixed, traced, options), place)
        found = program, program(traced)
    with _guard:
        _programs[key] = found[0]
        _locks.pop(key, None)
    return found[1]


def _compile(
    function: Callable[..., Any],
    fixed: dict[str, Any],
    traced: dict[str, Any],
    options: dict[str, Any],
) -> Compiled:
    def whole(traced: dict[str, Any]) -> Any:
        return function(**traced, **fixed)

    whole.__name__ = function.__name__
    lowered = jax.jit(whole).lower(traced)
    try:
        return lowered.compile(compiler_options=options)
    except Exception as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()  # an XLA that does not know the options


def _let_go() -> None:
    """Forget the half of all programs that was not used for longest, where there are many."""
    maps = _count_maps()
    with _guard:
        if maps > _MOST_MAPS if maps else len(_programs) >= _MOST_PROGRAMS:
            for _ in range(min(-(-len(_programs) // 2), len(_programs) - _LEAST)):
                _programs.popitem(last=False)


def _count_maps() -> int:
    """The memory maps of the process; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    return 0
