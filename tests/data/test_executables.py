"""Compiled programs are found again, for what they were compiled for, and let go of."""

from __future__ import annotations

import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgmm.data import executables
from jgmm.data.programs import program

X = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executables, "_programs", type(executables._programs)())


def counted() -> tuple[Any, list[int]]:
    """A program, and how often it was traced."""
    traced: list[int] = []

    @program("power")
    def work(x: Any, y: Any = 1.0, *, power: int = 2) -> Any:
        traced.append(power)
        return {"power": x**power * y, "type": jnp.sum(x)}

    return work, traced


@pytest.mark.usefixtures("nothing_kept")
def test_what_it_is_compiled_for() -> None:
    work, traced = counted()
    calls = [
        lambda: work(X),
        lambda: work(X, 1.0),  # the default, spelled out
        lambda: work(jnp.asarray(X), power=2),
        lambda: work(x=X),
    ]
    for call in calls:
        np.testing.assert_array_equal(call()["power"], X**2)
    assert traced == [2]
    others = [
        lambda: work(X, power=3),
        lambda: work(X[:1]),
        lambda: work(X.astype(np.float32)),
        lambda: work(X, np.float64(1)),
    ]
    for n, call in enumerate(others):
        call()
        assert len(traced) == n + 2
    with jax.enable_x64(False):
        assert work(X.astype(np.float32))["power"].dtype == np.float32
    assert len(traced) == len(others) + 2


@pytest.mark.usefixtures("nothing_kept")
def test_of_several_threads_one_compiles() -> None:
    work, traced = counted()
    threads = [threading.Thread(target=work, args=(np.ones(7, np.float32),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert traced == [2]


@pytest.mark.usefixtures("nothing_kept")
def test_where_there_are_many_the_longest_unused_go(monkeypatch: pytest.MonkeyPatch) -> None:
    work, traced = counted()
    for n in (1, 2, 3):
        work(X, power=n)
    work(X, power=1)
    monkeypatch.setattr(executables, "_LEAST", 1)
    monkeypatch.setattr(executables, "_MOST_MAPS", 1)
    monkeypatch.setattr(executables, "_MOST_PROGRAMS", 3)
    work(X, power=4)
    monkeypatch.setattr(executables, "_MOST_MAPS", 1 << 30)
    monkeypatch.setattr(executables, "_MOST_PROGRAMS", 1 << 30)
    assert traced == [1, 2, 3, 4]
    work(X, power=1)
    work(X, power=4)
    assert traced == [1, 2, 3, 4]
    work(X, power=2)
    work(X, power=3)
    assert traced == [1, 2, 3, 4, 2, 3]


@pytest.mark.usefixtures("nothing_kept")
def test_a_few_stay_where_others_take_all_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a fit, which is a few programs, would be compiled anew each time."""
    work, traced = counted()
    monkeypatch.setattr(executables, "_MOST_MAPS", 1)
    monkeypatch.setattr(executables, "_MOST_PROGRAMS", 1)
    for _ in range(3):
        for n in range(1, 9):
            work(X, power=n)
    assert traced == list(range(1, 9))


@pytest.mark.skipif(sys.platform != "linux", reason="maps are counted on Linux")
@pytest.mark.usefixtures("nothing_kept")
def test_their_memory_maps_go_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    work, _ = counted()
    work(X)
    limit = executables._count_maps() + 60
    monkeypatch.setattr(executables, "_MOST_MAPS", limit)
    most = 0
    for n in range(2, 40):
        work(X, power=n)
        most = max(most, executables._count_maps())
    assert len(executables._programs) < 38
    assert most < limit + 60


@pytest.mark.usefixtures("nothing_kept")
def test_what_goes_wrong_while_compiling_can_be_tried_again() -> None:
    @program()
    def work(x: Any) -> Any:
        if not ready:
            raise ValueError("not yet")
        return x + 1

    ready: list[int] = []
    with pytest.raises(ValueError, match="not yet"):
        work(X)
    ready.append(1)
    np.testing.assert_array_equal(work(X), X + 1)
