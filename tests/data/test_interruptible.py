"""Work ends where an interrupt comes, in whatever of jgmm it is, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import K, X

import jgmm
from jgmm.clustering import k_means
from jgmm.data import interruptible as module
from jgmm.data.interruptible import go_on, interruptible, side_by_side
from jgmm.fitting import delivery, sweeps
from jgmm.image import segmenting

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
CALLS: dict[str, tuple[Any, str, Callable[[], Any]]] = {
    "fit": (delivery, "fit_best", lambda: jgmm.fit(X, K)),
    "fit_gradient": (delivery, "fit_best", lambda: jgmm.fit_gradient(X, K)),
    "sweep": (sweeps, "fit_all", lambda: jgmm.sweep(X, [1, 2])),
    "kmeans": (k_means, "_kmeans", lambda: jgmm.kmeans(X, K)),
    "segment": (segmenting, "fit_samples", lambda: jgmm.segment(IMAGE, 2)),
}


@contextmanager
def interrupt(after: float = 0.2) -> Iterator[Callable[[], float]]:
    """One SIGINT to this process; gives a function for the seconds that passed since."""
    sent = [0.0]

    def send() -> None:
        time.sleep(after)
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: time.perf_counter() - sent[0]
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_ends_it_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, call = CALLS[name]
    release = threading.Event()
    monkeypatch.setattr(where, what, lambda *a, **k: release.wait(20))
    try:
        with interrupt() as since:
            with pytest.raises(KeyboardInterrupt):
                call()
            assert since() < 0.5
    finally:
        release.set()
        for thread in module._abandoned:
            thread.join(5)
    assert not any(thread.is_alive() for thread in module._abandoned)


def test_a_program_of_xla_does_not_keep_it() -> None:
    """It goes on unheard; what would come after it does not."""
    reached = []
    slow = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: jnp.sin(x) + i, 0.0))

    def work() -> None:
        slow(30_000_000).block_until_ready()
        go_on()
        reached.append(True)

    with interrupt(0.3) as since:
        with pytest.raises(KeyboardInterrupt):
            interruptible(work)
        assert since() < 0.5
    assert module._abandoned[-1].is_alive()
    module._abandoned[-1].join(20)
    assert not module._abandoned[-1].is_alive()
    assert reached == []
    assert interruptible(lambda: 3) == 3


def test_results_and_errors_come_through() -> None:
    assert interruptible(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ValueError, match="as it was"):
        interruptible(lambda: (_ for _ in ()).throw(ValueError("as it was")))


def test_the_settings_of_the_thread_are_carried_over() -> None:
    def seen() -> tuple[Any, ...]:
        config = jax.config
        return (config.jax_enable_x64, config.jax_numpy_dtype_promotion, config.jax_disable_jit)

    with jax.disable_jit():
        assert interruptible(seen) == (True, "strict", True)
        assert side_by_side([seen, seen], 2) == [(True, "strict", True)] * 2
    with jax.enable_x64(False):
        assert interruptible(seen) == (False, "strict", False)


def test_under_a_trace_there_is_no_thread() -> None:
    here = threading.current_thread()
    seen = []

    def program(x: Any) -> Any:
        seen.append(interruptible(threading.current_thread, x))
        seen.append(interruptible(threading.current_thread))
        return x

    jax.jit(program)(1.0)
    jax.vmap(lambda x: program(x))(jnp.ones(2))
    assert seen[:3] == [here] * 3


def test_tasks_side_by_side_keep_their_order_and_stop_at_an_error() -> None:
    assert side_by_side([lambda i=i: i for i in range(7)], 3) == list(range(7))
    done = []

    def fail() -> None:
        raise RuntimeError("one of them")

    with pytest.raises(RuntimeError, match="one of them"):
        side_by_side([fail, *(lambda i=i: done.append(i) for i in range(5))], 1)
    assert done == []


SCRIPT = """
import os, signal, sys, threading, time, atexit
import jax, jax.numpy as jnp
from jgmm.data.interruptible import interruptible
atexit.register(lambda: print("said goodbye", flush=True))
slow = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: jnp.sin(x) + i, 0.0))
slow(1)
def send():
    time.sleep(0.3)
    print("sent", time.time(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=send).start()
interruptible(lambda: slow(2_000_000_000).block_until_ready())
"""


def test_a_process_that_is_interrupted_ends_as_python_does() -> None:
    """Although XLA is at work still, for which JAX would wait."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    sent, goodbye = done.stdout.splitlines()
    assert time.time() - float(sent.split()[1]) < 2
    assert goodbye == "said goodbye"
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
