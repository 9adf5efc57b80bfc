"""Weak scaling over devices and processes of this machine, and fits from its disk.

    python -m experiments.benchmarks.scaling [weak | disk]

Each line of `weak` has as many samples for each device. The seconds that processors worked, for
each sample and step, say what sharing costs even where others use the machine; wall seconds do not.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_SAMPLES = 400_000  # for each device
_FEW, _MANY = 5, 45  # steps; the difference is timed
_K = 10
_BYTES = 200_000_000


def weak(repeats: int = 3) -> dict[str, dict[str, float]]:
    """Of one device, two devices of a process, and two processes; medians of turns."""
    shapes = {"1 device": (1, 1), "2 devices": (1, 2), "2 processes": (2, 1)}
    told: dict[str, list[tuple[float, float]]] = {name: [] for name in shapes}
    for _ in range(repeats):
        for name, shape in shapes.items():
            told[name].append(_shared(*shape))
    columns = ("wall ms per step", "CPU ns per sample and step")
    return {
        name: dict(zip(columns, map(statistics.median, zip(*times, strict=True)), strict=True))
        for name, times in told.items()
    }


def _shared(processes: int, devices: int) -> tuple[float, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "experiments.benchmarks.scaling", "worker", address]
    workers = [
        subprocess.Popen(
            [*command, str(processes), str(rank), str(devices)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(processes)
    ]
    outputs = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in workers]
    n = _SAMPLES * processes * devices
    wall = max(output[0] for output in outputs)
    return wall * 1e3, sum(output[1] for output in outputs) / n * 1e9


def _worker(address: str, processes: int, rank: int, devices: int) -> tuple[float, float]:
    """Wall and processor seconds of a step."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    import jgmm

    jgmm.use_all_cores(devices)
    if processes > 1:
        jax.distributed.initialize(address, processes, rank)
    rng = np.random.default_rng(rank)
    centers = np.random.default_rng(9).uniform(size=(_K, 3)).astype(np.float32)
    n = _SAMPLES * devices
    x = centers[np.arange(n) % _K] + 0.1 * rng.standard_normal((n, 3), np.float32)
    mesh = Mesh(np.array(jax.devices()), ("pixels",))
    sharding = NamedSharding(mesh, PartitionSpec("pixels"))
    make: Any = jax.make_array_from_process_local_data
    pixels, weights = make(sharding, x), make(sharding, np.ones(n, np.float32))
    covariances = np.broadcast_to(0.1 * np.eye(3, dtype=np.float32), (_K, 3, 3))
    leaves: Any = (np.full(_K, 1 / _K, np.float32), centers[:, ::-1], covariances)
    start = jgmm.Mixture(*leaves)
    options: Any = {"weights": weights, "init": start, "accelerate": False, "tol": 0}

    def run(steps: int) -> tuple[float, float]:
        before = time.perf_counter(), time.process_time()
        jax.block_until_ready(jgmm.fit(pixels, _K, max_iter=steps, **options))
        return time.perf_counter() - before[0], time.process_time() - before[1]

    run(1)
    few, many = run(_FEW), run(_MANY)
    wall, cpu = ((b - a) / (_MANY - _FEW) for a, b in zip(few, many, strict=True))
    return wall, cpu


def disk() -> dict[str, float]:
    """Passes over a file of 16-bit RGB that are too many values to count, and plain reading of it.

    The file is put out of the cache of the system before each, so that it comes from the disk.
    """
    import jgmm

    n = _BYTES // 6
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pixels.raw")
        with path.open("wb") as file:
            for start in range(0, n, 1 << 20):
                length = min(1 << 20, n - start)
                noisy = rng.normal(size=(length, 3)) * 2000 + rng.integers(1, 6, (length, 1)) * 9000
                noisy.clip(0, 65535).astype(np.uint16).tofile(file)
            os.fsync(file.fileno())
        pixels = np.memmap(path, np.uint16, "r", shape=(n, 3))
        init = jgmm.fit(
            np.asarray(pixels[:20_000]).astype(np.float32), _K, max_iter=5, search="none"
        )

        def cold() -> None:
            pixels._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        def read() -> float:
            cold()
            before = time.perf_counter()
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass
            return time.perf_counter() - before

        def fitted(steps: int) -> tuple[float, float]:
            cold()
            before = time.perf_counter(), time.process_time()
            jgmm.fit_stream(pixels, _K, init=init, max_iter=steps, tol=0)
            return time.perf_counter() - before[0], time.process_time() - before[1]

        fitted(0)
        reads, passes = [], []
        for _ in range(3):
            reads.append(read())
            few, many = fitted(0), fitted(3)
            passes.append([(b - a) / 3 for a, b in zip(few, many, strict=True)])
    wall, cpu = (statistics.median(each) for each in zip(*passes, strict=True))
    seconds = statistics.median(reads)
    return {
        "disk, MB/s": _BYTES / 1e6 / seconds,
        "disk, gigapixels per minute": n / 1e9 / seconds * 60,
        "a pass, gigapixels per minute": n / 1e9 / wall * 60,
        "CPU seconds per gigapixel and pass": cpu / n * 1e9,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        print(json.dumps(_worker(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        for name in sys.argv[1:] or ["weak", "disk"]:
            print(json.dumps(disk() if name == "disk" else weak(), indent=2))
