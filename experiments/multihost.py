"""One fit over several processes, each of which loads only its own rows of an image, or of several.

    python -m experiments.multihost [--processes 2 | --rows 300,0,127] [--image FILE ...] [-k 5]

starts the processes on this machine, and compares what they find with the fit of one process. Of
several images, of any sizes, the rows are counted one image after the other.
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

HEARTBEAT = 20  # seconds after which a process that is silent counts as lost, if not told else


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
        heartbeat_timeout_seconds=arguments.heartbeat,
    )
    images = [np.load(array, mmap_mode="r") for array in arguments.array]  # what is used is read
    start = sum(rows[: arguments.rank])
    pixels, weights = shared(rows_of(images, start, start + rows[arguments.rank]))
    print("begun", flush=True)
    return told(pixels, weights, arguments.k, first_means(images, arguments.k))


def rows_of(images: Sequence[np.ndarray], start: int, stop: int) -> np.ndarray:
    """The pixels [n, C] of some rows, counted over the images [H, W, C] one after the other.

    Example:
        >>> two = [np.zeros((2, 3, 1)), np.ones((4, 5, 1))]
        >>> rows_of(two, 1, 3).ravel().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    channels = images[0].shape[-1]
    parts = [np.zeros((0, channels), images[0].dtype)]
    for image in images:
        parts.append(np.asarray(image[max(start, 0) : max(stop, 0)]).reshape(-1, channels))
        start, stop = start - len(image), stop - len(image)
    return np.concatenate(parts)


def first_means(images: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The same start for all: some pixels from all over the images."""
    height = sum(map(len, images))
    rows = [(i, rows_of(images, i, i + 1)) for i in np.linspace(0, height - 1, k).astype(int)]
    picked = [row[i * (len(row) - 1) // max(1, height - 1)] for i, row in rows]
    return np.stack(picked).astype("f4")


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
    arguments: argparse.Namespace, rows: list[int], arrays: Sequence[str]
) -> list[subprocess.Popen[str]]:
    """The processes, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = [sys.executable, "-m", "experiments.multihost", "-k", str(arguments.k)]
    common += ["--array", *arrays, "--rows", ",".join(map(str, rows)), "--coordinator", address]
    common += ["--heartbeat", str(arguments.heartbeat)]
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


def pictures(names: Sequence[str] | None) -> list[np.ndarray]:
    """The pixels [H, W, C] of each image, or of the built-in photograph.

    Raises:
        OSError: a file that cannot be read.
        ValueError: a file that is no image, or images of different channels or depths.
    """
    read = jgmm.image.read_image
    images = [read(name).pixels for name in names] if names else [jgmm.image.sample_image().pixels]
    kinds = {f"{image.shape[-1]} channels of {image.dtype}" for image in images}
    if len(kinds) > 1:
        raise ValueError(f"expected images of one kind, got {' and '.join(sorted(kinds))}")
    return images


def shares(given: str | None, processes: int, n_rows: int) -> list[int]:
    """How many rows each process has: as given, or nearly as many as the others.

    Raises:
        ValueError: what is given is no list of counts, or they do not add up to all rows.

    Example:
        >>> shares("3,0,4", 2, 7), shares(None, 2, 7)
        ([3, 0, 4], [4, 3])
    """
    if given is None:
        if processes < 1:
            raise ValueError(f"expected --processes of at least 1, got {processes}")
        return [len(part) for part in np.array_split(np.arange(n_rows), processes)]
    if not all(part.strip().isdecimal() for part in given.split(",")):
        raise ValueError(f"expected --rows such as {n_rows - 1},0,1, got {given}")
    rows = list(map(int, given.split(",")))
    if sum(rows) != n_rows:
        raise ValueError(f"expected --rows that add up to {n_rows}, got {sum(rows)}")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the fit of several processes with that of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", help="of the images, for each process")
    parser.add_argument("--image", nargs="+", help="image files; the built-in photograph otherwise")
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--array", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--coordinator", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--heartbeat", type=int, default=HEARTBEAT, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.rank is not None:
        rows = list(map(int, arguments.rows.split(",")))
        print(json.dumps(work(arguments, rows)))
        return 0
    try:
        images = pictures(arguments.image)
        rows = shares(arguments.rows, arguments.processes, sum(map(len, images)))
    except (OSError, ValueError) as error:
        print(f"multihost: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        arrays = [str(Path(folder, f"{i}.npy")) for i in range(len(images))]
        for array, image in zip(arrays, images, strict=True):
            np.save(array, image)
        workers = start(arguments, rows, arrays)
        codes = awaited(workers)
        outputs = [worker.communicate()[0] for worker in workers]
    if any(codes):
        print(f"the processes ended with status {codes}", file=sys.stderr)
        return 1
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    flat = rows_of(images, 0, sum(rows)).astype(np.float32)
    alone = told(flat, None, arguments.k, first_means(images, arguments.k))
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
