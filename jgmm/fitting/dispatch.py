"""The order in which the lanes of a fit or a sweep are run: in step, or in turn on each core."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.sharding import Mesh

from jgmm import _checks
from jgmm.data.devices import Data
from jgmm.solvers.iterate import FitResult

Used = npt.NDArray[np.bool_] | Array
Lanes = Callable[[Used, Array], FitResult]
Report = Callable[[int, int, float], None]


def run_lanes(
    lanes: Lanes,
    used: Used,
    keys: Array,
    data: Data,
    mesh: Mesh | None,
    report: Report = lambda s, r, seconds: None,
) -> FitResult:
    """``lanes(used [S, K], keys [R])``, in the order that is fastest where it runs.

    Lanes of a vmap all run until the slowest ends. On a CPU, where nothing is gained by running
    them in step, one program for a single lane takes them in turn instead.

    Args:
        lanes: fits with leading axes [S, R].
        used: which components take part.
        keys: a key for each restart.
        data: what is fitted.
        mesh: where the data are.
        report: called with s, r and seconds after each lane, in any order.
    """
    if len(used) == len(keys) == 1 or not in_turn(data):
        return _side_by_side(lanes, used, keys, report)
    # Programs that span devices wait for each other, so that only one may run at a time.
    n_threads = 1 if mesh is not None else os.cpu_count()
    return _in_turn(lanes, used, keys, report, n_threads)


def in_turn(data: Data) -> bool:
    """Whether several lanes are taken one after the other."""
    return data.n is not None and jax.default_backend() == "cpu"


def _side_by_side(lanes: Lanes, used: Used, keys: Array, report: Report) -> FitResult:
    """All lanes as one vmap."""
    start = time.perf_counter()
    fits = lanes(used, keys)
    if _checks.is_concrete(fits.n_iter):
        jax.block_until_ready(fits)
        for s, r in itertools.product(range(len(used)), range(len(keys))):
            report(s, r, time.perf_counter() - start)
    return fits


def _in_turn(
    lanes: Lanes, used: Used, keys: Array, report: Report, n_threads: int | None
) -> FitResult:
    """The same, one lane after the other on each core."""
    # Those of most components, which are the longest, go first, but for one of the shortest.
    order = np.argsort(-used.sum(axis=1), kind="stable").tolist()
    order = [order[-1], *order[:-1]]
    turns = list(itertools.product(order, range(len(keys))))

    wide = jnp.result_type(float) == jnp.float64  # enabled for this thread only, maybe

    def take(turn: tuple[int, int]) -> FitResult:
        start = time.perf_counter()
        s, r = turn
        with jax.enable_x64(wide):
            fit = jax.device_get(lanes(used[s, None], keys[r, None]))
        report(s, r, time.perf_counter() - start)
        return fit

    # One lane alone, so that the threads find the program compiled.
    done = {turns[0]: take(turns[0])}
    with ThreadPoolExecutor(n_threads) as pool:
        done.update(zip(turns[1:], pool.map(take, turns[1:]), strict=True))
    rows = [[done[s, r] for r in range(len(keys))] for s in range(len(used))]
    # On the host: to join arrays on the device, each shape would be compiled for.
    joined = [jax.tree.map(lambda *leaf: np.concatenate(leaf, axis=1), *row) for row in rows]
    return jax.tree.map(lambda *leaf: jnp.asarray(np.concatenate(leaf)), *joined)
