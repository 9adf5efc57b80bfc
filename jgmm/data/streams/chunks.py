"""Blocks of any lengths made into chunks of one, ahead of when they are needed.

What comes out depends on the samples and their order alone, and not on the blocks that they came
in: neither do the fits.
"""

from __future__ import annotations

import contextvars
import dataclasses
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jgmm._checks import floating_dtype
from jgmm.data.interruptible import as_there, go_on, settings_here
from jgmm.data.streams.sources import Source

NdArray = npt.NDArray[Any]
T = TypeVar("T")
_NUMBERS = 1 << 20  # in a chunk, about
_AHEAD = 2  # chunks that wait to be worked on


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Some samples on the host, followed by as many zeros as make up the length of a chunk."""

    features: NdArray  # [L, D], in the dtype of the source and the order of this machine's bytes
    weights: NdArray | None  # [L] float64; None where all are 1
    n: int  # how many are samples

    @property
    def samples(self) -> NdArray:
        """Without the zeros behind [n, D]."""
        return self.features[: self.n]

    @property
    def mass(self) -> NdArray:
        """The weights of the samples [n]."""
        return np.ones(self.n) if self.weights is None else self.weights[: self.n]


def chunk_length(n_features: int) -> int:
    """Samples in a chunk: about a million numbers."""
    return max(_NUMBERS // n_features // 2048 * 2048, 256)


def chunks_of(source: Source, length: int | None) -> Iterator[Chunk]:
    """A pass over a source, in chunks of ``length`` samples; only the last may have fewer.

    None leaves the length to `chunk_length`.

    The next chunks are read by a thread while the last is worked on.

    Raises:
        TypeError: a block of no numbers.
        ValueError: a block of another number of features, of another dtype, or with values that
            are not finite; weights that are missing, negative or of another shape.
    """
    return _ahead(_cut(source, length))


def _cut(source: Source, length: int | None) -> Iterator[Chunk]:
    features: Any = None
    weights: Any = None
    filled = 0
    like: _Like | None = None
    for number, given in enumerate(source.blocks()):
        block, mass = _read(number, given, like)
        if like is None:
            like = _Like(block.dtype, block.shape[1], mass is not None)
            length = chunk_length(like.n_features) if length is None else length
        assert length is not None
        done = 0
        while done < len(block):
            if features is None:
                features = np.zeros((length, like.n_features), like.dtype)
                weights = np.zeros(length) if like.weighted else None
            take = min(length - filled, len(block) - done)
            features[filled : filled + take] = block[done : done + take]
            if mass is not None:
                weights[filled : filled + take] = mass[done : done + take]
            filled, done = filled + take, done + take
            if filled == length:
                yield Chunk(features, weights, filled)
                features, filled = None, 0
    if filled:
        yield Chunk(features, weights, filled)


@dataclasses.dataclass(frozen=True)
class _Like:
    """What the blocks of a source have in common."""

    dtype: np.dtype[Any]
    n_features: int
    weighted: bool


def _read(number: int, given: Any, like: _Like | None) -> tuple[NdArray, NdArray | None]:
    """A block of a source as samples [n, D] and their weights [n]."""
    where = f"source, block {number}"
    pair = isinstance(given, tuple) and len(given) == 2
    block, mass = given if pair else (given, None)
    block = np.asarray(block)
    try:
        floating_dtype(block.dtype)
    except TypeError:
        raise TypeError(f"{where}: expected numbers, got dtype {block.dtype}") from None
    if block.ndim < 2 or block.shape[-1] == 0:
        raise ValueError(f"{where}: expected shape [n, D] or [..., D], got {block.shape}")
    shape = block.shape[:-1]
    block = block.reshape(-1, block.shape[-1])
    if like is not None:
        if block.shape[1] != like.n_features:
            raise ValueError(
                f"{where}: expected {like.n_features} features, as in block 0, got {block.shape[1]}"
            )
        if block.dtype.newbyteorder("=") != like.dtype:
            raise ValueError(
                f"{where}: expected dtype {like.dtype}, as in block 0, got {block.dtype}"
            )
        if (mass is not None) != like.weighted:
            raise ValueError(
                f"{where}: expected weights {'as' if like.weighted else 'no more than'} in block "
                f"0, got {'none' if mass is None else 'some'}"
            )
    block = block.astype(block.dtype.newbyteorder("="), copy=False)
    if jnp.issubdtype(block.dtype, jnp.floating):
        _refuse(~np.isfinite(block).all(axis=1), where, "finite values", "NaN or infinity")
    if mass is None:
        return block, None
    mass = np.asarray(mass)
    if mass.shape not in (shape, (len(block),)):
        raise ValueError(f"{where}: expected weights of shape {shape}, got {mass.shape}")
    if mass.dtype.kind not in "biuf":
        raise TypeError(f"{where}: expected weights that are numbers, got dtype {mass.dtype}")
    mass = mass.reshape(-1).astype(np.float64)
    _refuse(~(np.isfinite(mass) & (mass >= 0)), where, "weights of at least 0", "another")
    return block, mass


def _refuse(bad: NdArray, where: str, expected: str, got: str) -> None:
    if bad.any():
        raise ValueError(f"{where}, row {int(np.argmax(bad))}: expected {expected}, got {got}")


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, made by a thread that is up to a few ahead."""
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(_AHEAD)
    left = threading.Event()  # nobody waits for more
    settings = settings_here()

    def put(item: tuple[bool, Any]) -> None:
        while not left.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        with as_there(settings), closing(items):  # type: ignore[type-var]
            try:
                for item in items:
                    put((True, item))
                    if left.is_set():
                        return
                put((False, None))
            except BaseException as error:
                put((False, error))

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True, name="jgmm-read")
    thread.start()
    try:
        while True:
            more, item = made.get()
            go_on()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        left.set()
