"""How programs are compiled: quickly for few numbers, well for many.

XLA takes seconds to compile a fit, and for little data most of them go into speed that nobody
notices. On a CPU it has other, faster emitters of code, and levels of optimisation, that can be
asked for program by program.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

from jgmm import _checks
from jgmm.data import executables
from jgmm.data.interruptible import go_on

P = ParamSpec("P")
T = TypeVar("T")

# XLA has as many threads as there are cores. With two of them programs with large operations (from
# some 30 features on) came to wait for ever, with JAX 0.10.2; with four they did not. It is read
# when JAX is first used.
if (os.cpu_count() or 1) < 4:
    os.environ.setdefault("NPROC", "4")
# So many numbers at most are few: 10,000 samples of 3 features.
_FEW = 1 << 15
_QUICK: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,  # the older ones
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# What goes over the data hundreds of times needs a little more.
_QUICK_LOOP: dict[str, Any] = {**_QUICK, "xla_backend_optimization_level": 1}
_ONCE: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_prefer_vector_width": 512,
}
_WELL: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}


def are_few(size: int) -> bool:
    """Whether ``size`` numbers are so few that compiling takes longest."""
    return size <= _FEW


def round_up(k: int, size: int) -> int:
    """``k`` components rounded up to one of few numbers, for ``size`` numbers that are few.

    Those beyond k get weight 0. Fits of different k then share one compiled program.
    """
    return max(8, 1 << (k - 1).bit_length()) if are_few(size) else k


def _whole_on_cpu(leaves: list[Any]) -> bool:
    """Whether a CPU is to work on values now, and not as a part of another program."""
    concrete = _checks.all_concrete(leaves) and not _checks.in_program()
    return concrete and jax.default_backend() == "cpu"


def on_host(tree: Any) -> bool:
    """Whether arrays are in the memory of one CPU device, and no program is being traced.

    Then NumPy may work on them, which compiles nothing for each shape.
    """
    leaves = jax.tree.leaves(tree)
    return _whole_on_cpu(leaves) and all(
        len(x.sharding.device_set) == 1 for x in leaves if isinstance(x, jax.Array)
    )


def program(
    *static: str, once: bool = False, amount: str | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Compile a function, for each shape of its arguments, as suits the amount of data.

    Inside another program it becomes a part of that, and is compiled as that is.

    Args:
        static: names of arguments that the function is compiled for.
        once: whether it goes over the data a few times at most.
        amount: the name of a static number of samples that it makes, if it makes any.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        plain = jax.jit(function, static_argnames=static)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def by_name(**named: Any) -> T:
            bound = inspect.BoundArguments(signature, OrderedDict(named))
            return function(*bound.args, **bound.kwargs)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            go_on()
            arrays = jax.tree.leaves((args, kwargs))
            # Options are for whole programs, not for a part of one or of a derivative.
            if not _whole_on_cpu(arrays) or _watched():
                return plain(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            fixed = {name: bound.arguments.pop(name) for name in static}
            sizes = [getattr(leaf, "size", 1) for leaf in arrays]
            few = are_few(max(sizes, default=0) if amount is None else max(*sizes, fixed[amount]))
            quick, well = (_QUICK, _ONCE) if once else (_QUICK_LOOP, _WELL)
            options = quick if few else well
            result: T = executables.run(by_name, fixed, bound.arguments, options)
            return result

        return call

    return decorate


def _watched() -> bool:
    """Whether JAX is to look into programs as they run."""
    modes = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs")
    return any(getattr(jax.config, mode) for mode in modes)
