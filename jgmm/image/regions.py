"""Connected regions: parts of segments, small ones absorbed, like neighbours merged.

Regions are merged in the order of what merging costs the piecewise constant model of Mumford and
Shah (Koepfler, Lopez and Morel 1994): joining regions of n₁ and n₂ pixels and mean colours μ₁ and
μ₂ adds n₁n₂/(n₁+n₂)·|μ₁-μ₂|² to the squared error, and saves their common border of length ∂. The
pair with the least cost per length goes first, until none costs less than λ.

Photographs are not piecewise constant: a sky that fades has parts of different means and no edge
between them. So one factor |μ₁-μ₂| of two is replaced by the step in colour that is seen at the
border (root mean square along it, between averages of 3 by 3 pixels on either side). Where both
regions are constant that is the same.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm.image.borders import borders, local_means

NdArray = npt.NDArray[Any]


def find_regions(
    labels: ArrayLike, colours: ArrayLike, *, min_region: float = 0.0, merge: float = 0.0
) -> NdArray:
    """Cut labels into connected regions, absorb the small and merge the alike.

    Args:
        labels: [H, W] integers; those below 0 are left out and belong to no region.
        colours: [H, W, C], in units in which distances mean something, such as L*a*b*.
        min_region: regions of fewer pixels are absorbed by the neighbour of the most similar
            mean colour, the smallest first.
        merge: neighbours are merged while that costs less than ``merge`` times √(H·W), in colour
            units squared times pixels per pixel of border; 0 merges none.

    Returns:
        Regions [H, W] int32, the largest 0 and so on; -1 where left out.

    Example:
        >>> import numpy as np
        >>> labels = np.array([[0, 0, 1, 0], [0, 0, 1, 0]])
        >>> find_regions(labels, labels[..., None] * 1.0).tolist()
        [[0, 0, 1, 2], [0, 0, 1, 2]]
        >>> find_regions(labels, labels[..., None] * 1.0, min_region=3).tolist()
        [[0, 0, 0, 0], [0, 0, 0, 0]]
    """
    from skimage.measure import label

    pixels, values = np.asarray(labels), np.asarray(colours)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected integers [H, W], got {pixels.dtype} {pixels.shape}")
    if values.ndim != 3 or values.shape[:2] != pixels.shape:
        raise ValueError(f"colours: expected {(*pixels.shape, 'C')}, got shape {values.shape}")
    # skimage takes 0 for background, unless told otherwise
    connected: Any = label
    parts = np.asarray(connected(np.maximum(pixels, -1), background=-1, connectivity=1)) - 1
    if parts.max() < 0:
        return np.full(pixels.shape, -1, np.int32)
    if not (min_region or merge):
        return by_size(parts, parts >= 0)
    graph = _Graph(parts, values)
    graph.absorb(min_region)
    graph.merge(merge * math.sqrt(pixels.size))
    graph.absorb(min_region)
    return by_size(graph.names()[parts], parts >= 0)


def by_size(labels: NdArray, inside: NdArray) -> NdArray:
    """Labels [H, W] numbered anew, the largest 0; -1 where not ``inside``."""
    flat = np.where(inside, labels, -1)
    counts = np.bincount(flat[inside], minlength=1)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(counts) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = -1
    return rank[flat]


class _Graph:
    """Regions and their neighbours. A region that was joined to another is no more."""

    def __init__(self, parts: NdArray, values: NdArray) -> None:
        n = int(parts.max()) + 1
        inside = parts >= 0
        flat, bands = parts[inside], values[inside]
        sizes = np.bincount(flat, minlength=n)
        sums = [np.bincount(flat, band, minlength=n) for band in bands.T]
        means = np.stack(sums, axis=-1) / np.maximum(sizes, 1)[:, None]
        # Plain lists and dictionaries: one at a time they are read much faster than arrays.
        self.sizes: list[int] = sizes.tolist()
        self.means: list[list[float]] = means.tolist()
        self.parents = list(range(n))
        # Of each neighbour the length of the border, and the sum of squared steps along it.
        self.borders: list[dict[int, tuple[int, float]]] = [{} for _ in range(n)]
        for i, j, length, step in zip(*borders(parts, local_means(values, inside), n), strict=True):
            self.borders[i][j] = self.borders[j][i] = length, step

    def distance(self, i: int, j: int) -> float:
        """Between mean colours, squared."""
        return sum((a - b) ** 2 for a, b in zip(self.means[i], self.means[j], strict=True))

    def cost(self, i: int, j: int) -> float:
        """Of joining neighbours, in squared error per pixel of border."""
        m, n = self.sizes[i], self.sizes[j]
        length, step = self.borders[i][j]
        return m * n / (m + n) * math.sqrt(self.distance(i, j) * step / length) / length

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
        self.parents[j] = i
        near = self.borders[i]
        del near[j]
        for other, (length, step) in self.borders[j].items():
            if other != i:
                theirs = self.borders[other]
                del theirs[j]
                more, steps = near.get(other, (0, 0.0))
                near[other] = theirs[i] = length + more, step + steps
        self.borders[j] = {}
        return i

    def absorb(self, least: float) -> None:
        """Join regions of fewer than ``least`` pixels to others, the smallest first."""
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

    def merge(self, limit: float) -> None:
        """Join neighbours while the cheapest costs less than ``limit``."""
        ages = [0] * len(self.sizes)
        queue = [
            (cost, i, j, 0, 0)
            for i, near in enumerate(self.borders)
            for j in near
            if i < j and (cost := self.cost(i, j)) < limit
        ]
        heapq.heapify(queue)
        while queue:
            _, i, j, age_i, age_j = heapq.heappop(queue)
            if ages[i] != age_i or ages[j] != age_j:
                continue  # one of them has changed since
            kept = self.join(i, j)
            ages[i] += 1
            ages[j] += 1
            for other in self.borders[kept]:
                cost = self.cost(kept, other)
                if cost < limit:
                    heapq.heappush(queue, (cost, kept, other, ages[kept], ages[other]))

    def names(self) -> NdArray:
        """For each of the first regions the one it has become part of."""
        names = np.array(self.parents, np.intp)
        while True:
            further = names[names]
            if (further == names).all():
                return names
            names = further
