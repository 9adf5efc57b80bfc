"""One fit over several processes, each of which loads only its own rows of an image.

    python -m experiments.multihost [--processes 2 | --rows 300,0,127] [--image FILE] [-k 5]

starts the processes on this machine, and compares what they find with the fit of one process.
experiments/CLUSTERS.md says how to start them on several machines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jgmm

HEARTBEAT = 20  # seconds after which a process that is silent counts as lost


def _gather(value: Any) -> Any:
    """Of all processes, stacked."""
    multihost: Any = importlib.import_module("jax.experimental.multihost_utils")
    return multihost.process_allgather(value)


def shared(mine: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """The pixels of all processes as one global array, and weights; of `mine` [n, D] here.

    Shares may have any lengths, and be empty: each is filled up with pixels of weight 0.
    """
    lengths = np.asarray(_gather(np.asarray(len(mine), np.int32)))
    here = jax.local_device_count()
    length = -(-max(1, int(lengths.max())) // here) * here
    more = length - len(mine)
    pixels = np.pad(mine.astype(np.float32), ((0, more), (0, 0)))
    weights = np.pad(np.ones(len(mine), np.float32), (0, more))
    mesh = Mesh(np.array(jax.devices()), ("pixels",))
    sharding = NamedSharding(mesh, PartitionSpec("pixels"))
    make: Any = jax.make_array_from_process_local_data
    return make(sharding, pixels), make(sharding, weights)


def work(arguments: argparse.Namespace, rows: list[int]) -> dict[str, Any]:
    """What each process does: load its rows, and fit together with the others."""
    jax.distributed.initialize(
        arguments.coordinator,
        len(rows),
        arguments.rank,
        heartbeat_timeout_seconds=HEARTBEAT,
    )
    image = np.load(arguments.array, mmap_mode="r")  # only what is used is read
    start = sum(rows[: arguments.rank])
    mine = np.asarray(image[start : start + rows[arguments.rank]])
    pixels, weights = shared(mine.reshape(-1, image.shape[-1]))
    print("begun", flush=True)
    return told(pixels, weights, arguments.k, first_means(image, arguments.k))


def first_means(image: np.ndarray, k: int) -> np.ndarray:
    """The same start for all: some pixels from all over the image."""
    height, width = image.shape[:2]
    places = np.linspace(0, height - 1, k).astype(int)
    return np.stack([image[i, i * (width - 1) // max(1, height - 1)] for i in places]).astype("f4")


def told(pixels: Any, weights: Any, k: int, init: np.ndarray) -> dict[str, Any]:
    """A fit and what it says of the pixels, as JSON has it; here, of the labels of this process."""
    result = jgmm.fit(pixels, k, weights=weights, init=init)
    labels = jgmm.predict(result, pixels)
    here = np.concatenate([np.asarray(shard.data) for shard in labels.addressable_shards])
    swept = jgmm.sweep(pixels, [k, 1], weights=weights, search="none")
    climbed = jgmm.fit_gradient(pixels, k, weights=weights, init=init, n_steps=3, tol=0.0)
    return {
        "score": float(jgmm.score(result, pixels, weights)),
        "inertia": float(jgmm.kmeans(pixels, k, weights=weights).inertia),
        "criterion": float(np.asarray(swept.bic).min()),
        "by gradient": float(climbed.log_likelihood),
        "labelled": int(np.isin(here, np.arange(k)).sum()),
        "log_likelihood": float(result.log_likelihood),
        "n_iter": int(result.n_iter),
        "weights": np.asarray(result.mixture.weights).tolist(),
        "means": np.asarray(result.mixture.means).tolist(),
    }


def start(
    arguments: argparse.Namespace, rows: list[int], array: str
) -> list[subprocess.Popen[str]]:
    """The processes, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = [sys.executable, "-m", "experiments.multihost", "-k", str(arguments.k)]
    common += ["--array", array, "--rows", ",".join(map(str, rows)), "--coordinator", address]
    return [
        subprocess.Popen([*common, "--rank", str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(len(rows))
    ]


def awaited(workers: Sequence[subprocess.Popen[str]]) -> list[int]:
    """How the processes ended.

    Where one fails JAX ends the others, as soon as it counts as lost. What has not ended in twice
    that time is killed.
    """
    codes: list[int | None] = [None for _ in workers]
    deadline = float("inf")
    while None in codes:
        codes = [worker.poll() for worker in workers]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and deadline == float("inf"):
            deadline = time.monotonic() + 2 * HEARTBEAT
            print(f"process {failed[0]} ended with status {codes[failed[0]]}", file=sys.stderr)
        if time.monotonic() > deadline:
            for worker in workers:
                worker.kill()
        time.sleep(0.05)
    return [worker.wait() for worker in workers]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the fit of several processes with that of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", help="of the image, for each process")
    parser.add_argument("--image", help="an image file; the built-in photograph otherwise")
    parser.add_argument("-k", type=int, default=5)
    for name in ("--array", "--coordinator"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.rank is not None:
        rows = list(map(int, arguments.rows.split(",")))
        print(json.dumps(work(arguments, rows)))
        return 0
    read = jgmm.image.read_image
    image = (read(arguments.image) if arguments.image else jgmm.image.sample_image()).pixels
    if arguments.rows:
        rows = list(map(int, arguments.rows.split(",")))
        image = image[: sum(rows)]
    else:
        rows = [len(part) for part in np.array_split(np.arange(len(image)), arguments.processes)]
    with tempfile.TemporaryDirectory() as folder:
        array = str(Path(folder, "image.npy"))
        np.save(array, image)
        workers = start(arguments, rows, array)
        codes = awaited(workers)
        outputs = [worker.communicate()[0] for worker in workers]
    if any(codes):
        print(f"the processes ended with status {codes}", file=sys.stderr)
        return 1
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    flat = image.reshape(-1, image.shape[-1]).astype(np.float32)
    alone = told(flat, None, arguments.k, first_means(image, arguments.k))
    gaps = [np.abs(np.array(one["means"]) - np.array(alone["means"])).max() for one in found]
    for rank, one in enumerate(found):
        about = f"{rows[rank]} rows, {one['labelled']} labels, those of the filling among them"
        print(f"process {rank}, {about}: {one['log_likelihood']:.6f} nats per pixel")
    print(f"one process: {alone['log_likelihood']:.6f} nats per pixel")
    print(f"the means differ by {max(gaps):.2g} at most")
    for name in ("score", "inertia", "criterion", "by gradient"):
        gap = max(abs(one[name] / alone[name] - 1) for one in found)
        print(f"of {name} the relative difference is {gap:.2g} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
