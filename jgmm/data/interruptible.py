"""Work that an interrupt (Ctrl-C) need not wait for.

Python hears signals in its main thread, between steps of its own; one call into XLA may take
minutes. So the work is done in another thread, and the main thread waits, which an interrupt can
end. A program of XLA that runs by then cannot be stopped: it runs to its end unheard, and its
thread goes no further.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import jax

from jgmm import _checks, _status

T = TypeVar("T")

# What JAX keeps for each thread: the names of its settings, and the contexts that set them.
_SETTINGS: tuple[tuple[str, Callable[[Any], Any]], ...] = tuple(
    (f"jax_{name}", getattr(jax, name))
    for name in (
        "enable_x64",
        "numpy_dtype_promotion",
        "numpy_rank_promotion",
        "default_matmul_precision",
        "default_device",
        "default_prng_impl",
        "threefry_partitionable",
        "debug_nans",
        "debug_infs",
        "disable_jit",
        "log_compiles",
        "explain_cache_misses",
        "transfer_guard_host_to_device",
        "transfer_guard_device_to_device",
        "transfer_guard_device_to_host",
    )
    if hasattr(jax, name)
)
_stopped: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
    "stopped", default=None
)
_abandoned: list[threading.Thread] = []


class _Abandoned(BaseException):
    """Nobody waits for this work any more."""


class _Answer:
    """What work in a thread led to."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def take(self, work: Callable[[], Any]) -> None:
        """Do the work."""
        try:
            self.value = work()
        except BaseException as error:
            self.error = error

    def give(self) -> Any:
        """The result, or raise what the work raised."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            self.error = None  # which holds the frame of this call


def interruptible(work: Callable[[], T], *arguments: Any) -> T:
    """The result of ``work``, which an interrupt of the main thread ends at once.

    Nothing changes under a trace, and in other threads, which hear no signals.

    Args:
        work: what to do; its result is ready on return.
        arguments: what it works on, to tell whether that is traced.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or not _checks.all_concrete(arguments)
        or _checks.in_program()
        or not jax.sharding.get_abstract_mesh().empty  # a setting that no other thread can have
    ):
        return work()
    stopped = threading.Event()
    context = contextvars.copy_context()
    context.run(_stopped.set, stopped)
    context.run(_status.called_from, _status.outside(sys._getframe(1)))
    answer, done = _Answer(), threading.Event()
    settings = settings_here()

    def run() -> None:
        with as_there(settings):
            answer.take(lambda: jax.block_until_ready(work()))
        done.set()

    thread = threading.Thread(target=context.run, args=(run,), daemon=True, name="jgmm")
    thread.start()
    try:
        # With a time limit, because Windows hears no signal while it waits without.
        while not done.wait(0.2):
            pass
    except BaseException:
        stopped.set()
        _abandon(thread)
        raise
    result: T = answer.give()
    return result


def go_on() -> None:
    """Leave work that nobody waits for any more."""
    stopped = _stopped.get()
    if stopped is not None and stopped.is_set():
        raise _Abandoned


def side_by_side(tasks: Sequence[Callable[[], T]], n_threads: int) -> list[T]:
    """The results of all tasks, of which so many run at a time.

    Unlike those of a pool, the threads keep no program from ending.
    """
    answers: list[_Answer] = [_Answer() for _ in tasks]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(tasks)):
        waiting.put(i)
    settings = settings_here()
    failed = threading.Event()

    def run() -> None:
        with as_there(settings):
            while not failed.is_set():
                try:
                    i = waiting.get_nowait()
                except queue.Empty:
                    break
                answers[i].take(tasks[i])
                if answers[i].error is not None:
                    failed.set()
        finished.put(0)

    threads = [
        threading.Thread(
            target=contextvars.copy_context().run, args=(run,), daemon=True, name="jgmm"
        )
        for _ in range(min(n_threads, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        finished.get()
    if failed.is_set():
        next(answer for answer in answers if answer.error is not None).give()
    return [answer.give() for answer in answers]


def settings_here() -> dict[str, Any]:
    """JAX's settings of this thread."""
    return {name: getattr(jax.config, name, None) for name, _ in _SETTINGS}


def as_there(settings: dict[str, Any]) -> ExitStack:
    """Where JAX's settings of this thread are others than those, those."""
    stack = ExitStack()
    here = settings_here()
    for name, context in _SETTINGS:
        if here[name] != settings[name]:
            stack.enter_context(context(settings[name]))
    return stack


def _abandon(thread: threading.Thread) -> None:
    _abandoned[:] = [other for other in _abandoned if other.is_alive()] + [thread]
    # Called before what was registered earlier, and so before JAX's own, which would wait.
    atexit.unregister(_leave)
    atexit.register(_leave)


def _leave() -> None:
    """At the end of the process: let abandoned work come to its end, or end with it under way.

    A thread that comes back from XLA to a Python that has ended would abort the process. A
    program that caught the interrupt has a status of its own to end with, which is not known here:
    that waits, and says so.
    """
    if not any(thread.is_alive() for thread in _abandoned):
        return
    interactive = hasattr(sys, "ps1")
    if interactive or getattr(sys, "last_type", None) is KeyboardInterrupt:
        _end_now(interrupted=not interactive)
        return
    try:
        print("jgmm: waiting for work that was interrupted; Ctrl-C ends it now", file=sys.stderr)
        for thread in _abandoned:
            while thread.is_alive():
                thread.join(0.2)
    except KeyboardInterrupt:
        _end_now(interrupted=True)


def _end_now(interrupted: bool) -> None:
    """End the process as Python would, but without a wait for XLA."""
    atexit.unregister(_leave)
    jax_waits = getattr(sys.modules.get("jax._src.api"), "clean_up", None)
    if jax_waits is not None:
        atexit.unregister(jax_waits)
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(130 if interrupted else 0)
