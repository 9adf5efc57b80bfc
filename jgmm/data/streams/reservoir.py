"""A sample of a stream of unknown length, drawn by weight as it goes by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.data.streams.chunks import Chunk

NdArray = npt.NDArray[Any]


class Reservoir:
    """Priority sampling (Duffield, Lund and Thorup 2007).

    A sample of weight w has priority w/u, u uniform in (0, 1]. The ``size`` samples of highest
    priority stay, and stand for max(w, τ), τ the highest priority of those that do not: sums of
    weights are then right in the mean. Of no more than ``size`` samples all stay as they are.
    """

    def __init__(self, size: int, seed: Any) -> None:
        """An empty one.

        Args:
            size: how many samples to keep.
            seed: of NumPy's generator.
        """
        self._size = size
        self._rng = np.random.default_rng(seed)
        # Features, weights, priorities and labels.
        self._kept: list[tuple[NdArray, NdArray, NdArray, NdArray]] = []
        self._labelled = False
        self._held = 0
        self._threshold = 0.0

    def add(self, chunk: Chunk) -> None:
        """Samples that go by; those of weight 0 are passed over."""
        mass = chunk.mass
        with np.errstate(over="ignore"):
            priorities = mass / (1 - self._rng.random(chunk.n))
        stays = np.flatnonzero(priorities > self._threshold)
        labels = np.full(chunk.n, -1, np.int32) if chunk.labels is None else chunk.labels
        self._labelled |= chunk.labels is not None
        self._kept.append((chunk.samples[stays], mass[stays], priorities[stays], labels[stays]))
        self._held += len(stays)
        if self._held > 2 * self._size:
            self._settle()

    def _settle(self) -> None:
        """Keep only what has to be kept."""
        features, mass, priorities, labels = (
            np.concatenate(leaf) for leaf in zip(*self._kept, strict=True)
        )
        if len(priorities) > self._size:
            order = np.argpartition(-priorities, self._size)
            self._threshold = float(priorities[order[self._size]])
            stays = np.sort(order[: self._size])
            features, mass = features[stays], mass[stays]
            priorities, labels = priorities[stays], labels[stays]
        self._kept = [(features, mass, priorities, labels)]
        self._held = len(priorities)

    def drawn(self) -> tuple[NdArray, NdArray, NdArray | None]:
        """The samples that were kept [n, D], in the order they came.

        With what they stand for [n], and their labels [n] where they have any.
        """
        self._settle()
        features, mass, _, labels = self._kept[0]
        return features, np.maximum(mass, self._threshold), labels if self._labelled else None
