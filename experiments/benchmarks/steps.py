"""The time of one EM step, against every peer and against C by hand."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks import timing
from experiments.benchmarks.peers import PEERS, Run, Start, mean_log_likelihood, numpy_reference

NdArray = npt.NDArray[Any]
YARDSTICK = Path(__file__).parents[3] / "shared" / "bench" / "em_limit.c"
# Steps that a run is timed over: enough to outweigh what it costs to start one.
_STEPS = {"jgmm": 40, "gmmx": 8, "tgmm": 2, "ott-jax": 2}


def compare(
    x: NdArray, k: int, covariance_type: str, repeats: int, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Milliseconds per EM step for each library, and how far its answer is from the reference.

    Args:
        x: samples [N, D].
        k: components.
        covariance_type: "full" or "diag".
        repeats: timings of each, of which the median is reported.
        skip: peers to leave out.
    """
    start = k_means_start(x, k, covariance_type)
    probe = x[:: max(1, len(x) // 50_000)]
    expected = mean_log_likelihood(probe, numpy_reference(x, start, covariance_type)(1))
    runs: dict[str, Run] = {}
    errors: dict[str, str] = {}
    far: dict[str, float] = {}
    compile_seconds: dict[str, float] = {}
    for name, peer in PEERS.items():
        if name in skip:
            continue
        try:
            run = peer(x, start, covariance_type)
            compile_seconds[name] = timing.seconds(lambda run=run: run(1))  # type: ignore[misc]
            far[name] = abs(mean_log_likelihood(probe, run(1)) - expected)
            run(1 + _STEPS.get(name, 1))  # for those that compile for each number of steps
            runs[name] = run
        except Exception as error:  # a peer that fails is reported, not hidden
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    steps = {name: _STEPS.get(name, 1) for name in runs}
    c_times: list[float] = []
    medians: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, value in timing.per_step(runs, steps, 1).items():
            medians[name].append(value * 1e3)
        c = yardstick(len(x), k) if x.shape[1] == 3 and covariance_type == "full" else None
        if c is not None:
            c_times.append(c)
    table = {name: statistics.median(values) for name, values in medians.items()}
    if c_times:
        table["C by hand"] = statistics.median(c_times)
    return {
        "n": len(x),
        "d": x.shape[1],
        "k": k,
        "covariance": covariance_type,
        "ms_per_step": table,
        "ratio_to_jgmm": {name: value / table["jgmm"] for name, value in table.items()},
        "log_likelihood_error": far,
        "first_call_seconds": compile_seconds,
        "failed": errors,
    }


def k_means_start(x: NdArray, k: int, covariance_type: str) -> Start:
    """Weights, means and covariances of a k-means clustering, in float64."""
    import jgmm

    labels = np.asarray(jgmm.kmeans(x, k).labels)
    weights = np.bincount(labels, minlength=k) / len(x)
    members = [x[labels == i].astype(np.float64) for i in range(k)]
    means = np.stack([rows.mean(axis=0) for rows in members])
    eye = np.eye(x.shape[1])
    covariances = np.stack([np.cov(rows.T, bias=True).reshape(eye.shape) for rows in members])
    covariances += 1e-6 * eye
    if covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2).copy()
    return weights, means, covariances


def yardstick(n: int, k: int, n_threads: int | None = None) -> float | None:
    """Milliseconds per step of the C program, on all cores; None where it cannot be had."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not YARDSTICK.exists():
        return None
    binary = Path(tempfile.gettempdir()) / "jgmm-em-limit"
    if not binary.exists():
        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp"]
        subprocess.run([compiler, *flags, YARDSTICK, "-o", binary, "-lm"], check=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads or os.cpu_count())}
    out = subprocess.run(
        [binary, str(n), str(k), "30"], capture_output=True, text=True, check=True, env=environment
    ).stdout
    return float(out.split("ms/iter=")[1].split()[0])
