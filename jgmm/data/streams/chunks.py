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
    labels: NdArray | None = None  # [L] int32, -1 where unknown; None: all unknown

    @property
    def samples(self) -> NdArray:
        """Without the zeros behind [n, D]."""
        return self.features[: self.n]

    @property
    def mass(self) -> NdArray:
        """The weights of the samples [n]."""
        return np.ones(self.n) if self.weights is None else self.weights[: self.n]


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What blocks may hold, beside finite numbers."""

    missing: bool = False  # NaN for features that were not observed
    k: int | None = None  # labels below this


FINITE = Allowed()


def chunk_length(n_features: int) -> int:
    """Samples in a chunk: about a million numbers."""
    return max(_NUMBERS // n_features // 2048 * 2048, 256)


def chunks_of(source: Source, length: int | None, allowed: Allowed = FINITE) -> Iterator[Chunk]:
    """A pass over a source, in chunks of ``length`` samples; only the last may have fewer.

    None leaves the length to `chunk_length`.

    The next chunks are read by a thread while the last is worked on.

    Raises:
        TypeError: a block of no numbers.
        ValueError: a block of another number of features, of another dtype, or with values that
            are not finite; weights that are missing, negative or of another shape; labels likewise.
    """
    return _ahead(_cut(source, length, allowed))


def _cut(source: Source, length: int | None, allowed: Allowed) -> Iterator[Chunk]:
    features: Any = None
    weights: Any = None
    labels: Any = None
    filled = 0
    like: _Like | None = None
    for number, given in enumerate(source.blocks()):
        block, mass, known = _read(number, given, like, allowed)
        if like is None:
            like = _Like(block.dtype, block.shape[1], mass is not None, known is not None)
            length = chunk_length(like.n_features) if length is None else length
        assert length is not None
        done = 0
        while done < len(block):
            if features is None:
                features = np.zeros((length, like.n_features), like.dtype)
                weights = np.zeros(length) if like.weighted else None
                labels = np.full(length, -1, np.int32) if like.labelled else None
            take = min(length - filled, len(block) - done)
            features[filled : filled + take] = block[done : done + take]
            if mass is not None:
                weights[filled : filled + take] = mass[done : done + take]
            if known is not None:
                labels[filled : filled + take] = known[done : done + take]
            filled, done = filled + take, done + take
            if filled == length:
                yield Chunk(features, weights, filled, labels)
                features, filled = None, 0
    if filled:
        yield Chunk(features, weights, filled, labels)


@dataclasses.dataclass(frozen=True)
class _Like:
    """What the blocks of a source have in common."""

    dtype: np.dtype[Any]
    n_features: int
    weighted: bool
    labelled: bool


def _read(
    number: int, given: Any, like: _Like | None, allowed: Allowed
) -> tuple[NdArray, NdArray | None, NdArray | None]:
    """A block of a source as samples [n, D], their weights [n] and labels [n]."""
    where = f"source, block {number}"
    several = isinstance(given, tuple) and len(given) in (2, 3)
    block, mass, labels = (*given, None)[:3] if several else (given, None, None)
    block = _unmasked(block, where, allowed)
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
        if (labels is not None) != like.labelled:
            raise ValueError(
                f"{where}: expected labels {'as' if like.labelled else 'no more than'} in block "
                f"0, got {'none' if labels is None else 'some'}"
            )
    block = block.astype(block.dtype.newbyteorder("="), copy=False)
    if jnp.issubdtype(block.dtype, jnp.floating):
        fine = np.isfinite(block)
        if allowed.missing:
            fine |= np.isnan(block)
        _refuse(~fine.all(axis=1), where, "finite values", "NaN or infinity")
    if labels is not None:
        labels = _read_labels(labels, shape, where, allowed)
    if mass is None:
        return block, None, labels
    mass = np.asarray(mass)
    if mass.shape not in (shape, (len(block),)):
        raise ValueError(f"{where}: expected weights of shape {shape}, got {mass.shape}")
    if mass.dtype.kind not in "biuf":
        raise TypeError(f"{where}: expected weights that are numbers, got dtype {mass.dtype}")
    mass = mass.reshape(-1).astype(np.float64)
    _refuse(~(np.isfinite(mass) & (mass >= 0)), where, "weights of at least 0", "another")
    return block, mass, labels


def _unmasked(block: Any, where: str, allowed: Allowed) -> NdArray:
    """A block as an array; what is masked is missing."""
    if not isinstance(block, np.ma.MaskedArray):
        return np.asarray(block)
    if allowed.missing:
        return np.ma.filled(block.astype(floating_dtype(block.dtype)), np.nan)
    if np.ma.getmaskarray(block).any():
        raise ValueError(
            f"{where}: expected values, got a masked array: missing='nan' takes what is masked as "
            "missing"
        )
    return np.ma.getdata(block)


def _read_labels(labels: Any, shape: tuple[int, ...], where: str, allowed: Allowed) -> NdArray:
    array = np.asarray(labels)
    if array.shape not in (shape, (int(np.prod(shape)),)):
        raise ValueError(f"{where}: expected labels of shape {shape}, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{where}: expected integer labels, got dtype {array.dtype}")
    array = array.reshape(-1)
    most = np.iinfo(np.int32).max if allowed.k is None else allowed.k - 1
    bad = (array < -1) | (array > most)
    _refuse(bad, where, f"labels from -1 (unknown) to {most}", "another")
    return array.astype(np.int32)


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

    def make() -> None:
        try:
            for item in items:
                put((True, item))
                if left.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    def work() -> None:
        with as_there(settings), closing(items):  # type: ignore[type-var]
            make()

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
