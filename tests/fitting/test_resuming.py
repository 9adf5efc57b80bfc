"""A fit goes on where it was ended, even by SIGKILL, to the same bits; other files are refused."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jgmm
from jgmm.fitting.checkpoint import Checkpoint

RNG = np.random.default_rng(0)
X: Any = np.concatenate(
    [RNG.normal(size=(300, 2)) * [1.0, 2.0] + center for center in ([0, 0], [4, 1], [0, 7])]
).astype(np.float32)


class Ended(Exception):
    pass


def end_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end, so to speak, in place of the write after so many."""
    write, left = Checkpoint.write, [n]

    def counted(self: Checkpoint, tree: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Ended
        write(self, tree)

    monkeypatch.setattr(Checkpoint, "write", counted)


HOLES = X.copy()
HOLES[::7, 1] = np.nan
DIAG = {"covariance_type": "diag"}  # which compile fastest


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (X, {**DIAG, "n_restarts": 2, "weights": np.arange(900) % 3, "tol": 0, "max_iter": 60}),
        (
            HOLES,
            {**DIAG, "missing": "nan", "labels": np.r_[2, -np.ones(899, int)], "prior": "weak"},
        ),
    ],
    ids=["restarts", "missing"],
)
def test_a_fit_goes_on_where_it_was(
    x: Any, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = jgmm.fit(x, 3, **options)
    kept = {**options, "checkpoint": tmp_path / "a", "every": 3}
    for n in (1, 2):
        with monkeypatch.context() as patched:
            end_after(n, patched)
            with pytest.raises(Ended):
                jgmm.fit(x, 3, **kept)
    with monkeypatch.context() as patched:  # no start is made anew
        patched.setattr("jgmm.fitting.resuming._found", None)
        assert jgmm.fit(x, 3, **kept) == unbroken
        end_after(0, patched)
        assert jgmm.fit(x, 3, **kept) == unbroken


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    options = {"search": "none", "max_iter": 4, "tol": 0, "checkpoint": tmp_path / "a"}
    jgmm.fit(X, 3, **options)
    jgmm.fit(X, 3, **{**options, "max_iter": np.int64(4)})  # the same, whoever counted
    moved = X.copy()
    moved[[5, 6]] = moved[[6, 5]]
    for x, changed, message in (
        (moved, {}, "where the data differed"),
        (X, {"weights": np.r_[2.0, np.ones(899)]}, "where the data differed"),
        (X, {"tol": 0.5}, "where tol differed"),
        (X, {"key": 1}, "where key differed"),
        (X, {"prior": "weak"}, "where prior differed"),
    ):
        with pytest.raises(ValueError, match=message):
            jgmm.fit(x, 3, **{**options, **changed})
    with pytest.raises(TypeError, match="under a trace"):
        jax.jit(lambda x: jgmm.fit(x, 3, **options))(X)
    with pytest.raises(ValueError, match="every: expected"):
        jgmm.fit(X, 3, **options, every=0)


EVERY, STEPS = 200, 16_000
CODE = f"""
import os, sys
import numpy as np
import jgmm
from jgmm.fitting.checkpoint import Checkpoint

write = Checkpoint.write
def told(self, tree):
    write(self, tree)
    os.write(1, b"%d\\n" % np.asarray(tree[0].n_evaluated).max())
Checkpoint.write = told
x, path = np.load(sys.argv[1]), sys.argv[2]
options = dict(init=x[:3], tol=0, accelerate=False, max_iter={STEPS})
result = jgmm.fit(x, 3, **options, checkpoint=path, every={EVERY})
jgmm.save(path + ".end", result.mixture)
np.save(path + ".npy", result.history)
"""


def test_a_fit_that_is_killed_loses_the_steps_since_the_last_write(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", CODE, str(tmp_path / "x.npy"), str(tmp_path / "a")]
    rng, last = random.Random(0), None
    for kill in (True, False):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        if last is not None:  # the last write may have been made and not told of
            assert first - EVERY in (last, last + EVERY)
        if kill:
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
        told = process.stdout.read().split()
        last = int(told[-1]) if told else first
        assert process.wait() == (-signal.SIGKILL if kill else 0)
        process.stdout.close()
    options: Any = {"init": X[:3], "tol": 0, "accelerate": False, "max_iter": STEPS}
    with jax.enable_x64(False):  # as there
        unbroken = jgmm.fit(X, 3, **options)
        assert jgmm.load(tmp_path / "a.end") == unbroken.mixture
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), unbroken.history)
