"""Samples shared out over several devices, each of which folds its own blocks.

Data that are already sharded stay where they are. After `use_all_cores` data on the host go to
one CPU device per core.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jgmm import _checks
from jgmm._checks import is_concrete
from jgmm._struct import struct
from jgmm.data.fold import Axis, Blocks, make_blocks, pad_rows, padded_length

_AXIS = "samples"
_spread_over_cores = False


def use_all_cores(n_cores: int | None = None) -> None:
    """Let `fit` and `kmeans` share the samples out over the cores of the CPU.

    JAX runs a program on one device, and most of a CPU device's work on one core. This makes one
    device per core, and has to come before JAX is first used.

    Args:
        n_cores: how many; None means all.

    Raises:
        RuntimeError: JAX has been used already.
    """
    global _spread_over_cores
    n_cores = _checks.as_count("n_cores", os.cpu_count() or 1 if n_cores is None else n_cores)
    # Devices that wait for each other hold threads of XLA's pool. With no more threads than
    # devices, one that needs a second thread to get there would wait for ever.
    os.environ["NPROC"] = str(4 * n_cores)
    jax.config.update("jax_num_cpu_devices", n_cores)
    _spread_over_cores = True


@struct
class Data:
    """Samples on their way to a compiled program."""

    pixels: Array  # [L, D], padded
    weights: Array  # [L], 0 for padding
    n: Array | None  # how many of each device's rows are samples [devices]; None means all


def place(pixels: Array, weights: Array, *, spread: bool = True) -> tuple[Data, Mesh | None]:
    """Pad samples [N, D] and weights [N] to one of few lengths and put them on their devices.

    Data without a place of their own are shared out over the cores, if ``spread`` and
    `use_all_cores` was called. Under a trace nothing is padded or moved: the program is compiled
    for its shapes anyway.
    """
    if not (is_concrete(pixels) and is_concrete(weights)):
        return Data(pixels=pixels, weights=weights, n=None), None
    n = len(pixels)
    devices: list[Any] = sorted(pixels.sharding.device_set, key=str)
    spread = spread and _spread_over_cores and jax.default_backend() == "cpu"
    if spread and not pixels.committed:
        devices = jax.local_devices(backend="cpu")[: max(1, n // 4096)]
    if len(devices) == 1:
        rows = jnp.full(1, n, jnp.int32)
        return Data(pixels=pad_rows(pixels), weights=pad_rows(weights), n=rows), None
    if n % len(devices) or not pixels.committed:
        data = _deal(np.asarray(pixels), np.asarray(weights), len(devices))
    else:
        rows = jnp.full(len(devices), n // len(devices), jnp.int32)
        data = Data(pixels=pixels, weights=weights, n=rows)
    mesh = Mesh(np.array(devices), (_AXIS,))
    sharding = NamedSharding(mesh, P(_AXIS))
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), data), mesh


def _deal(pixels: Any, weights: Any, count: int) -> Data:
    """Rows in ``count`` equal shares, each padded to the same length."""
    shares = [len(share) for share in np.array_split(np.arange(len(pixels)), count)]
    length = padded_length(shares[0])
    padded = np.zeros((count, length, pixels.shape[1]), pixels.dtype)
    padded_weights = np.zeros((count, length), weights.dtype)
    start = 0
    for i, share in enumerate(shares):
        padded[i, :share] = pixels[start : start + share]
        padded_weights[i, :share] = weights[start : start + share]
        start += share
    flat: Any = padded.reshape(-1, pixels.shape[1])
    flat_weights: Any = padded_weights.reshape(-1)
    return Data(pixels=flat, weights=flat_weights, n=jnp.array(shares, jnp.int32))


def gather_rows(rows: Array, data: Data, n: int) -> Array:
    """Values of the rows of ``data`` [L, ...], without those of the padding: [n, ...]."""
    if data.n is None or len(data.n) == 1:
        return rows[:n]
    shares = np.asarray(data.n)
    split = np.asarray(rows).reshape(len(shares), -1, *rows.shape[1:])
    return jnp.concatenate([part[:share] for part, share in zip(split, shares, strict=True)])


def over_rows(
    function: Callable[..., Array], data: Data, mesh: Mesh | None, *arguments: Any
) -> Array:
    """``function(pixels [L, D], *arguments)`` to [L, ...], on every device with its own rows."""
    if mesh is None:
        return function(data.pixels, *arguments)
    specs = (P(_AXIS), *(P() for _ in arguments))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P(_AXIS), check_vma=False)(
        data.pixels, *arguments
    )


def over_blocks(
    function: Callable[..., Any], data: Data, size: int, mesh: Mesh | None, *arguments: Any
) -> Any:
    """``function(blocks, *arguments)``, on every device with its own blocks.

    `fold_sum` adds over the devices, so that the function returns the same on all of them.
    """

    def local(data: Data, *arguments: Any) -> Any:
        axis = None if mesh is None else Axis(_AXIS, mesh.size)
        n = None if data.n is None else data.n[0]
        blocks: Blocks = make_blocks(data.pixels, data.weights, size, n, axis)
        return function(blocks, *arguments)

    if mesh is None:
        return local(data, *arguments)
    specs = (P(_AXIS), *(P() for _ in arguments))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(
        data, *arguments
    )
