"""Regions and their neighbours, joined one pair after the other.

Regions are merged in the order of what merging costs the piecewise constant model of Mumford and
Shah (Koepfler, Lopez and Morel 1994): joining regions of n₁ and n₂ pixels and mean colours μ₁ and
μ₂ adds n₁n₂/(n₁+n₂)·|μ₁-μ₂|² to the squared error, and saves their common border of length ∂. The
pair with the least cost per length goes first.

Photographs are not piecewise constant: a sky that fades has parts of different means and no edge
between them. So one factor |μ₁-μ₂| of two is replaced by the step in colour that is seen at the
border, between averages of 3 by 3 pixels on either side. Along the border it is (mean of √step)²:
a border that is missing in places counts less than its sharpest part would have it. Its power is
1.25, in units of 5: the factor is 5·(step/5)^1.25. So strong edges hold out for longer against
regions that grow. Where both regions are constant and 5 apart it is |μ₁-μ₂|.

Nor does a mean say what a region is like: a wall in the shade and a tree may have the same. Of
each cue, a distribution of the pixels of a region (`jgmm.image.cues`), the cost has a factor
0.1 + 2h. h is Hellinger's distance of both regions, 0 where they are alike and 1 where they have
nothing in common, so that the cost is as it was where h = 0.45. A region of few pixels says little
of what it is like: to its pixels are added some that are as those of the whole image. The numbers
are of experiments/NOTES-segmentation.md, as is what else was tried.

Regions that somebody has labelled, and differently, are never joined, whatever that would cost:
they count as no neighbours. What a labelled region and another are joined to has the label.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.borders import borders, local_means

NdArray = npt.NDArray[Any]
_ALIKE, _UNLIKE = 0.1, 2.0  # the factor of a cue, and how it grows with the distance
_STEP = 5.0  # in units of colour: such a step counts as it is, whatever its power
_PRIOR = 0.004  # pixels as those of the whole image, as a share of all, added to those of a region


class Graph:
    """Regions and their neighbours. A region that was joined to another is no more."""

    # See experiments/merging_steps.py, which takes others.
    averaged = 0.5  # the power of the steps along a border whose mean is taken
    power = 1.25  # of the step that this comes to, in the cost

    def __init__(self, parts: NdArray, values: NdArray) -> None:
        """``parts`` [H, W], -1 where left out; ``values`` [H, W, C], their colours."""
        n = int(parts.max()) + 1
        inside = parts >= 0
        flat, bands = parts[inside], values[inside]
        sizes = np.bincount(flat, minlength=n)
        sums = [np.bincount(flat, band, minlength=n) for band in bands.T]
        means = np.stack(sums, axis=-1) / np.maximum(sizes, 1)[:, None]
        # Plain lists and dictionaries: one at a time they are read much faster than arrays.
        self.sizes: list[int] = sizes.tolist()
        self.means: list[list[float]] = means.tolist()
        self.joins: list[tuple[int, int]] = []  # the one that stayed, and the one that went
        self.costs: list[float] = []  # of the joins since `absorb`
        # Of each neighbour the length of the border, and the sum of powers of the steps along it.
        self.borders: list[dict[int, tuple[int, float]]] = [{} for _ in range(n)]
        found = borders(parts, local_means(values, inside), n, self.averaged)
        for i, j, length, step in zip(*found, strict=True):
            self.borders[i][j] = self.borders[j][i] = length, step
        self._known: list[int] = []  # of each region its label, -1 where unknown; of none if empty
        self._cues: list[NdArray] = []  # sums over the pixels of a region, in its row
        self._rows: list[int] = []
        self._added, self._typical = _PRIOR * len(flat), [np.zeros(0)]
        # Of each region, made when it is looked at.
        self._roots: list[tuple[tuple[float, ...], ...] | None] = [()] * n

    def keep_apart(self, known: Sequence[int]) -> None:
        """Never join regions of different known labels [P], -1 where unknown."""
        self._known = list(known)
        for i in range(len(self._known)):
            self._part(i)

    def _part(self, i: int) -> None:
        """Let a region forget the neighbours that it must not be joined to, and they it."""
        mine, known, near = self._known[i], self._known, self.borders[i]
        if mine >= 0:
            for j in [j for j in near if known[j] >= 0 and known[j] != mine]:
                del near[j], self.borders[j][i]

    def describe(self, cues: Sequence[NdArray], rows: NdArray) -> None:
        """Let the cost of joins go by cues, too, from here on.

        Args:
            cues: each [R, B], which add up to the number of pixels of each region.
            rows: [P], which row is of a region.
        """
        self._cues = [np.array(cue, np.float64) for cue in cues]
        self._rows = rows.tolist()
        self._typical = [_PRIOR * cue.sum(axis=0) for cue in self._cues]
        self._roots = [None if self._cues else ()] * len(self.sizes)

    def distance(self, i: int, j: int) -> float:
        """Between mean colours, squared."""
        return math.dist(self.means[i], self.means[j]) ** 2

    def likeness(self, i: int) -> tuple[tuple[float, ...], ...]:
        """Of each cue the roots of the shares of a region.

        Between two such Euclid's distance is √2 times Hellinger's.
        """
        found = self._roots[i]
        if found is None:
            n = self.sizes[i] + self._added
            pairs, row = zip(self._cues, self._typical, strict=True), self._rows[i]
            found = tuple(tuple(np.sqrt((cue[row] + more) / n).tolist()) for cue, more in pairs)
            self._roots[i] = found
        return found

    def costs_of(self, i: int) -> list[tuple[float, int]]:
        """What joining each neighbour costs, in squared error per pixel of border, and which."""
        m, mean, sizes, means = self.sizes[i], self.means[i], self.sizes, self.means
        mine, slope, dist = self.likeness(i), _UNLIKE / math.sqrt(2), math.dist
        power, unit = self.power / self.averaged, _STEP ** (1 - self.power)
        found = []
        for j, (length, step) in self.borders[i].items():
            n = sizes[j]
            edge = unit * (step / length) ** power
            cost = m * n / (m + n) * dist(mean, means[j]) * edge / length
            for one, other in zip(mine, self.likeness(j)):  # noqa: B905 (this is where the time goes)
                cost *= _ALIKE + slope * dist(one, other)
            found.append((cost, j))
        return found

    def join(self, i: int, j: int) -> int:
        """Join neighbours; returns the one that stays, which has more neighbours."""
        if len(self.borders[i]) < len(self.borders[j]):
            i, j = j, i
        m, n = self.sizes[i], self.sizes[j]
        self.means[i] = [
            (m * a + n * b) / (m + n) for a, b in zip(self.means[i], self.means[j], strict=True)
        ]
        self.sizes[i] = m + n
        self.sizes[j] = 0
        for cue in self._cues:
            cue[self._rows[i]] += cue[self._rows[j]]
            self._roots[i] = self._roots[j] = None
        self.joins.append((i, j))
        near = self.borders[i]
        del near[j]
        for other, (length, step) in self.borders[j].items():
            if other != i:
                theirs = self.borders[other]
                del theirs[j]
                more, steps = near.get(other, (0, 0.0))
                near[other] = theirs[i] = length + more, step + steps
        self.borders[j] = {}
        if self._known:
            # One is unknown, or both are alike.
            self._known[i] = max(self._known[i], self._known[j])
            self._part(i)
        return i

    def absorb(self, least: float) -> None:
        """Join regions of fewer than ``least`` pixels to others, the smallest first.

        Those stay that have no neighbour they may be joined to.
        """
        queue = [(size, i) for i, size in enumerate(self.sizes) if 0 < size < least]
        heapq.heapify(queue)
        while queue:
            size, i = heapq.heappop(queue)
            if size != self.sizes[i] or not self.borders[i]:
                continue  # it has grown or gone, or is alone
            nearest = min(self.borders[i], key=lambda j: (self.distance(i, j), j))  # noqa: B023
            kept = self.join(i, nearest)
            if self.sizes[kept] < least:
                heapq.heappush(queue, (self.sizes[kept], kept))

    def merge(self) -> None:
        """Join neighbours, the cheapest first, until none has any.

        In the queue each region has its cheapest neighbour alone. That is enough: of any two
        neighbours the one that changed last has looked at the other since.
        """
        ages = [0] * len(self.sizes)
        queue: list[tuple[float, int, int, int, int]] = []

        def look(i: int) -> None:
            if self.borders[i]:
                cost, j = min(self.costs_of(i))
                heapq.heappush(queue, (cost, i, j, ages[i], ages[j]))

        for i in range(len(self.sizes)):
            look(i)
        while queue:
            cost, i, j, age_i, age_j = heapq.heappop(queue)
            if ages[i] != age_i:
                continue  # it has looked again since
            if ages[j] != age_j:
                look(i)
                continue
            kept = self.join(i, j)
            self.costs.append(cost)
            ages[i] += 1
            ages[j] += 1
            look(kept)
