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
        self._kept: list[tuple[NdArray, NdArray, NdArray]] = []  # features, weights, priorities
        self._held = 0
        self._threshold = 0.0

    def add(self, chunk: Chunk) -> None:
        """Samples that go by; those of weight 0 are passed over."""
        mass = chunk.mass
        with np.errstate(over="ignore"):
            priorities = mass / (1 - self._rng.random(chunk.n))
        stays = np.flatnonzero(priorities > self._threshold)
        self._kept.append((chunk.samples[stays], mass[stays], priorities[stays]))
        self._held += len(stays)
        if self._held > 2 * self._size:
            self._settle()

    def _settle(self) -> None:
        """Keep only what has to be kept."""
        features, mass, priorities = (
            np.concatenate(leaf) for leaf in zip(*self._kept, strict=True)
        )
        if len(priorities) > self._size:
            order = np.argpartition(-priorities, self._size)
            self._threshold = float(priorities[order[self._size]])
            stays = np.sort(order[: self._size])
            features, mass, priorities = features[stays], mass[stays], priorities[stays]
        self._kept = [(features, mass, priorities)]
        self._held = len(priorities)

    def drawn(self) -> tuple[NdArray, NdArray]:
        """The samples that were kept [n, D], in the order they came, and what they stand for."""
        self._settle()
        features, mass, _ = self._kept[0]
        return features, np.maximum(mass, self._threshold)
