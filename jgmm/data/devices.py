"""Samples shared out over several devices, each of which folds its own blocks.

Data that are already sharded stay where they are. After `use_all_cores` data on the host go to
one CPU device per core.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.programs import on_host
from jgmm.data.samples import (
    Axis,
    Everything,
    Rows,
    Samples,
    Span,
    make_samples,
    pad_rows,
    padded_length,
)

T = TypeVar("T")
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
class Shares:
    """How many of each device's rows are samples."""

    n: Array  # [devices]


@struct
class Placed:
    """Samples on their way to a compiled program, padded with rows of weight 0."""

    rows: Rows  # of L rows
    held: Everything | Shares


def place(rows: Rows, *, spread: bool = True) -> tuple[Placed, Mesh | None]:
    """Pad N samples to one of few lengths and put them on their devices.

    Data without a place of their own are shared out over the cores, if ``spread`` and
    `use_all_cores` was called. Under a trace nothing is padded or moved: the program is compiled
    for its shapes anyway.
    """
    if not _checks.all_concrete(rows):
        return Placed(rows=rows, held=Everything()), None
    n, features = len(rows.features), rows.features
    devices = _in_order(features)
    spread = spread and _spread_over_cores and jax.default_backend() == "cpu"
    if spread and not features.committed:
        devices = jax.local_devices(backend="cpu")[: max(1, n // 4096)]
    if len(devices) == 1:
        held = _shares([n])
        return Placed(rows=jax.tree.map(pad_rows, rows), held=held), None
    if n % len(devices) or not features.committed:
        placed = _deal(rows, len(devices))
    else:
        held = _shares([n // len(devices)] * len(devices))
        placed = Placed(rows=rows, held=held)
    mesh = Mesh(np.array(devices), (_AXIS,))
    sharding = NamedSharding(mesh, P(_AXIS))
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), placed), mesh


def _in_order(array: Array) -> list[Any]:
    """The devices of an array, as its parts are along the first axis."""
    parts = array.sharding.devices_indices_map(array.shape)
    return sorted(parts, key=lambda device: (parts[device][0].start or 0, device.id))


def mesh_of(array: Array) -> Mesh | None:
    """The devices that samples [..., D] are shared out over, each as many.

    None where there is one, and under a trace.
    """
    if not isinstance(array, jax.Array) or not _checks.is_concrete(array):
        return None
    devices = _in_order(array)
    if len(devices) == 1 or math.prod(array.shape[:-1]) % len(devices):
        return None
    return Mesh(np.array(devices), (_AXIS,))


def _shares(counts: list[int]) -> Shares:
    n: Any = np.array(counts, np.int32)
    return Shares(n=n)


def _deal(rows: Rows, count: int) -> Placed:
    """Rows in ``count`` equal shares, each padded to the same length."""
    shares = [len(share) for share in np.array_split(np.arange(len(rows.features)), count)]
    length = padded_length(shares[0])
    starts = np.cumsum([0, *shares])

    def deal(leaf: Array) -> Any:
        host = np.asarray(leaf)
        padded = np.zeros((count, length, *host.shape[1:]), host.dtype)
        for i, share in enumerate(shares):
            padded[i, :share] = host[starts[i] : starts[i + 1]]
        return padded.reshape(-1, *host.shape[1:])

    return Placed(rows=jax.tree.map(deal, rows), held=_shares(shares))


def gather_rows(values: Array, placed: Placed, n: int) -> Array:
    """Values of the rows [L, ...], without those of the padding: [n, ...]."""
    if len(values) == n:
        return values
    if isinstance(placed.held, Everything) or len(placed.held.n) == 1:
        # On the host nothing is compiled for each n.
        return _checks.as_array(np.asarray(values)[:n]) if on_host(values) else values[:n]
    shares = np.asarray(placed.held.n)
    split = np.asarray(values).reshape(len(shares), -1, *values.shape[1:])
    return jnp.concatenate([part[:share] for part, share in zip(split, shares, strict=True)])


def over_rows(function: Callable[..., T], features: Array, mesh: Mesh | None, *arguments: Any) -> T:
    """``function(features [L, D], *arguments)`` to [L, ...], on every device with its own rows."""
    found: T = _on_each(function, mesh, P(_AXIS), features, *arguments)
    return found


def summed_over_rows(
    function: Callable[..., T],
    rows: Rows,
    size: int,
    mesh: Mesh | None,
    *arguments: Any,
    incomplete: bool = False,
) -> T:
    """``function(samples, *arguments)`` as `over_samples`, of rows that are not padded."""

    def local(rows: Rows, *arguments: Any) -> T:
        axis = None if mesh is None else Axis(_AXIS, mesh.size)
        return function(make_samples(rows, size, axis=axis, incomplete=incomplete), *arguments)

    found: T = _on_each(local, mesh, P(), rows, *arguments)
    return found


def over_samples(
    function: Callable[..., Any],
    placed: Placed,
    size: int,
    mesh: Mesh | None,
    *arguments: Any,
    incomplete: bool = False,
    spare: int = 0,
) -> Any:
    """``function(samples, *arguments)``, on every device with its own blocks of ``size`` samples.

    `fold_sum` adds over the devices, so that the function returns the same on all of them.
    """

    def local(placed: Placed, *arguments: Any) -> Any:
        return function(_local_samples(placed, size, mesh, incomplete, spare), *arguments)

    return _on_each(local, mesh, P(), placed, *arguments)


def over_blocks(
    function: Callable[..., Any], samples: Samples, mesh: Mesh | None, *arguments: Any
) -> Any:
    """The same of samples that are in blocks already."""

    def local(samples: Samples, *arguments: Any) -> Any:
        return function(_inside(samples), *arguments)

    return _on_each(local, mesh, P(), samples, *arguments)


def to_blocks(
    function: Callable[..., tuple[Samples, Any]],
    placed: Placed,
    size: int,
    mesh: Mesh | None,
    *arguments: Any,
    incomplete: bool = False,
    spare: int = 0,
) -> tuple[Samples, Any]:
    """As `over_samples`, for a function that returns samples and what else all devices share."""

    def local(placed: Placed, *arguments: Any) -> tuple[Samples, Any]:
        raw = _local_samples(placed, size, mesh, incomplete, spare)
        samples, shared = function(raw, *arguments)
        return _outside(samples), shared

    found: tuple[Samples, Any] = _on_each(local, mesh, (P(_AXIS), P()), placed, *arguments)
    return found


def _on_each(
    function: Callable[..., Any], mesh: Mesh | None, out: Any, shared_out: Any, *arguments: Any
) -> Any:
    """``function(shared_out, *arguments)`` on every device, which sees its share of the first."""
    if mesh is None:
        return function(shared_out, *arguments)
    specs = (P(_AXIS), *(P() for _ in arguments))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)(
        shared_out, *arguments
    )


def _local_samples(
    placed: Placed, size: int, mesh: Mesh | None, incomplete: bool, spare: int = 0
) -> Samples:
    axis = None if mesh is None else Axis(_AXIS, mesh.size)
    visited: Everything | Span = Everything()
    if isinstance(placed.held, Shares):
        n = placed.held.n[0]
        visited = Span(start=jnp.zeros_like(n), n=n)
    return make_samples(placed.rows, size, visited, axis, incomplete=incomplete, spare=spare)


def _outside(samples: Samples) -> Samples:
    """With the span of each device, where it has one."""
    visited = jax.tree.map(lambda leaf: leaf[None], samples.visited)
    return dataclasses.replace(samples, visited=visited)


def _inside(samples: Samples) -> Samples:
    """With the span of this device."""
    visited = jax.tree.map(lambda leaf: leaf[0], samples.visited)
    return dataclasses.replace(samples, visited=visited)
