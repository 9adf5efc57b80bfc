"""Regions that are joined two at a time, and what is known of a pair: for `learned_merging`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.metrics import covered, rand_index, variation_of_information

NdArray = npt.NDArray[Any]
NAMES = (
    *("cost", "distance", "step", "distance by spread", "lightness", "colour", "texture"),
    *("posteriors", "textons", "size of the smaller", "of the larger", "share of the border"),
    *("spread of lightness", "length of the border"),
)


class Regions:
    """The regions of a photograph: sums over their pixels, and borders. They can be joined."""

    def __init__(self, sums: dict[str, NdArray], pairs: NdArray, tables: Sequence[NdArray]) -> None:
        """``pairs`` [P, 4]: two regions, the length of their border and the squared steps there."""
        self.sums = {name: values.astype(np.float64) for name, values in sums.items()}
        self.tables = [table.astype(np.float64) for table in tables]
        self.size = self.sums["size"][:, 0]
        self.root = math.sqrt(self.size.sum())
        self.near: list[dict[int, NdArray]] = [{} for _ in self.size]
        for i, j, *border in pairs.tolist():
            self.near[int(i)][int(j)] = self.near[int(j)][int(i)] = np.array(border)

    def copy(self) -> Regions:
        """The same, to be joined otherwise."""
        pairs = [(i, j, *v) for i, near in enumerate(self.near) for j, v in near.items() if i < j]
        return Regions(self.sums, np.array(pairs).reshape(-1, 4), self.tables)

    def features(self, i: int, others: Sequence[int]) -> NdArray:
        """What is known of a region and some of its neighbours [P, F], see `NAMES`."""
        j = np.asarray(others)
        length, squares = np.array([self.near[i][k] for k in others]).T
        m, n = self.size[i], self.size[j]
        (mean, other), (square, squared) = (
            self._means("colours", i, j),
            self._means("squares", i, j),
        )
        spread_i = np.maximum(square - mean**2, 0.25)
        spread_j = np.maximum(squared - other**2, 0.25)
        apart = mean - other
        distance = np.sqrt((apart**2).sum(axis=1))
        step = np.sqrt(squares / length)
        cost = m * n / (m + n) * distance * step / length / self.root
        around = [sum(v[0] for v in self.near[k].values()) for k in (i, *others)]
        columns = [
            np.log(cost + 1e-3),
            np.log(distance + 0.5),
            np.log(step + 0.5),
            np.log((apart**2 / (spread_i + spread_j)).sum(axis=1) + 0.05),
            np.log(np.abs(apart[:, 0]) + 0.5),
            np.log(np.hypot(apart[:, 1], apart[:, 2]) + 0.5),
            np.log(np.abs(apart[:, 3]) + 0.2),
            np.sqrt(_divergence(*self._means("posteriors", i, j))),
            np.sqrt(_divergence(*self._means("textons", i, j))),
            np.log(np.minimum(m, n)) - 2 * math.log(self.root),
            np.log(np.maximum(m, n)) - 2 * math.log(self.root),
            np.log(length / np.minimum(around[0], around[1:])),
            np.abs(np.log(spread_i[0]) - np.log(spread_j[:, 0])),
            np.log(length / self.root),
        ]
        return np.stack(columns, axis=1)

    def _means(self, name: str, i: int, j: NdArray) -> tuple[NdArray, NdArray]:
        values = self.sums[name]
        return values[i] / self.size[i], values[j] / self.size[j, None]

    def together(self, i: int, j: int) -> float:
        """How often a pixel of the one and one of the other are in one segment, to people."""
        shares = [(t[i] / t[i].sum()) @ (t[j] / t[j].sum()) for t in self.tables]
        return float(np.mean(shares))

    def join(self, i: int, j: int) -> int:
        """Join neighbours; returns the one that stays."""
        if len(self.near[i]) < len(self.near[j]):
            i, j = j, i
        for values in (*self.sums.values(), *self.tables):
            values[i] += values[j]
            values[j] = 0
        del self.near[i][j]
        for k, border in self.near[j].items():
            if k != i:
                del self.near[k][j]
                self.near[i][k] = self.near[k][i] = self.near[i].get(k, 0) + border
        self.near[j] = {}
        return i

    def agreement(self) -> list[float]:
        """Covering, VoI and PRI with what people drew, and over how many pixels."""
        tables = [table[table.sum(axis=1) > 0] for table in self.tables]
        pixels = float(sum(table.sum() for table in tables))
        covering = sum(covered(table) for table in tables) / pixels
        voi = float(np.mean([variation_of_information(table) for table in tables]))
        return [covering, voi, float(np.mean([rand_index(table) for table in tables])), pixels]


def _divergence(p: NdArray, q: NdArray) -> NdArray:
    """Jensen and Shannon's, of distributions [..., K], in nats."""
    middle = (p + q) / 2

    def to_middle(a: NdArray) -> NdArray:
        return np.sum(a * np.log(np.maximum(a, 1e-12) / np.maximum(middle, 1e-12)), axis=-1)

    return np.maximum(to_middle(p) + to_middle(q), 0) / 2
