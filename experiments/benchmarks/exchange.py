"""What devices tell each other: the collectives of the programs that a call compiles."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jgmm

_COLLECTIVE = re.compile(
    r"= (\w+)\[([\d,]*)\]\S* "
    r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
_BYTES = {"f16": 2, "bf16": 2, "f64": 8, "s64": 8, "u64": 8, "pred": 1, "s8": 1, "u8": 1}


def collectives(call: Callable[[], Any]) -> list[tuple[str, int]]:
    """The collectives in what ``call`` compiles, and the bytes of their results on a device."""
    compiled = []
    compile_ = jax.stages.Lowered.compile

    def seen(self: Any, *args: Any, **options: Any) -> Any:
        compiled.append(compile_(self, *args, **options))
        return compiled[-1]

    with mock.patch.object(jax.stages.Lowered, "compile", seen):
        jax.block_until_ready(call())
    found = []
    for program in compiled:
        for dtype, shape, kind in _COLLECTIVE.findall(program.as_text() or ""):
            numbers = int(np.prod([int(length) for length in shape.split(",") if length]))
            found.append((kind, numbers * _BYTES.get(dtype, 4)))
    return found


def calls(k: int, d: int) -> dict[str, Callable[[], Any]]:
    """Of samples that are shared out over all devices."""
    mesh = Mesh(np.array(jax.devices()), ("pixels",))
    x = np.random.default_rng(0).normal(size=(40_000, d)).astype(np.float32)
    pixels = jax.device_put(x, NamedSharding(mesh, PartitionSpec("pixels")))
    identity = np.broadcast_to(np.eye(d, dtype=np.float32), (k, d, d))
    leaves: Any = (np.ones(k, np.float32) / k, x[:k], identity)
    start = jgmm.Mixture(*leaves)
    return {
        "fit": lambda: jgmm.fit(pixels, k, init=start, max_iter=3, tol=0),
        "kmeans": lambda: jgmm.kmeans(pixels, k),
        "score": lambda: jgmm.score(start, pixels),
        "bic": lambda: jgmm.bic(start, pixels),
        "predict": lambda: jgmm.predict(start, pixels),
    }


def table() -> dict[str, str]:
    """For all devices of this machine."""
    return {
        f"K = {k}, D = {d}, {name}": ", ".join(f"{kind} {n}" for kind, n in collectives(call))
        for k, d in ((10, 3), (16, 8))
        for name, call in calls(k, d).items()
    }
