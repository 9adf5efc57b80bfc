"""All scales of one image: regions that merge, two at a time, into ever fewer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.image.merging import Graph

NdArray = npt.NDArray[Any]
# Of parts [H, W], numbered from 0, tables [P, B] of how their pixels are distributed over
# something; see `jgmm.image.cues`.
Cues = Callable[[NdArray], Sequence[NdArray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Hierarchy:
    """Regions from the finest to the coarsest, nested by construction; on the host.

    Regions are joined one pair after the other, the pair that costs least first (see
    `jgmm.image.merging`). A cut takes the first so many of these steps, so that of two cuts each
    region of the finer lies in one of the coarser. No step joins what nothing connects, or what
    has different known labels.

    Attributes:
        parts: [H, W] int32, the parts that all began with; -1 where left out.
        parents: [P], for each part one that it was joined to, itself if to none.
        steps: [P], the step in which that was: -1 before the first, for parts that were absorbed
            as too small; the number of steps for those that were joined to none.
        costs: [M], of each step, in squared colour units times pixels per pixel of border, times
            a factor for how unlike the regions are otherwise.

    Example:
        >>> labels = np.array([[0, 0, 1, 1, 2, 2]] * 4)
        >>> colours = np.array([0.0, 1.0, 5.0])[labels][..., None]
        >>> tree = hierarchy_of(labels, colours)
        >>> tree.cut(n_regions=2)[0].tolist()
        [0, 0, 0, 0, 1, 1]
        >>> tree.n_regions, tree.strengths.round(2).tolist()
        (3, [0.69, 5.62])
    """

    parts: NdArray
    parents: NdArray
    steps: NdArray
    costs: NdArray

    @property
    def n_regions(self) -> int:
        """How many regions the finest cut has."""
        return int(np.count_nonzero(self.steps >= 0))

    @property
    def fewest(self) -> int:
        """How many regions the coarsest cut has, which takes all steps.

        One, where all parts are connected and no two have different known labels.
        """
        return self.n_regions - len(self.costs)

    @property
    def strengths(self) -> NdArray:
        """[M] ascending: the least ``merge`` at which each step is not yet taken."""
        return np.maximum.accumulate(self.costs) / math.sqrt(self.parts.size)

    def cut(self, *, n_regions: int | None = None, merge: float | None = None) -> NdArray:
        """The regions of one scale [H, W] int32, the largest 0 and so on; -1 where left out.

        Args:
            n_regions: so many, as far as there are: at most those of the finest cut, at least
                `fewest`, which 1 gives.
            merge: take the steps that cost less than that times √(H·W), as `jgmm.segment` does;
                0 takes none.

        Raises:
            ValueError: none or both of the arguments, or one out of bounds.
        """
        if (n_regions is None) == (merge is None):
            raise ValueError("cut: expected one of n_regions and merge")
        names = self.names(n_regions=n_regions, merge=merge)
        return by_size(np.append(names, -1)[self.parts], self.parts >= 0)

    def names(self, *, n_regions: int | None = None, merge: float | None = None) -> NdArray:
        """For each part [P] the one that stands for its region in a cut; see `cut`."""
        if n_regions is not None:
            wanted = _checks.as_count("n_regions", n_regions)
            taken = min(max(self.n_regions - wanted, 0), len(self.costs))
        else:
            least = _checks.as_number("merge", merge, 0, _checks.LARGEST)
            limit = least * math.sqrt(self.parts.size)
            taken = int(np.searchsorted(np.maximum.accumulate(self.costs), limit, side="left"))
        return ends_of(np.where(self.steps < taken, self.parents, np.arange(len(self.parents))))

    def contours(self) -> NdArray:
        """The strength of every boundary: an ultrametric contour map [2H-1, 2W-1] float32.

        Pixels of the image are those with an even row and column. Between two neighbours is the
        least ``merge`` that joins their regions, 0 within a region, infinity where none does, as
        of different known labels, or only one of them takes part; between four, the largest
        around. (Arbelaez et al. 2011; theirs has a frame in addition.) So what is below M is cut
        into ``cut(merge=M)``.

        Example:
            >>> labels = np.array([[0, 1], [0, 1]])
            >>> hierarchy_of(labels, labels[..., None] * 3.0).contours().round(2).tolist()
            [[0.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.5, 0.0]]
        """
        height, width = self.parts.shape
        found = np.zeros((2 * height - 1, 2 * width - 1), np.float32)
        found[1::2, ::2] = self._strength(self.parts[1:], self.parts[:-1])
        found[::2, 1::2] = self._strength(self.parts[:, 1:], self.parts[:, :-1])
        beside = np.maximum(found[1::2, :-2:2], found[1::2, 2::2])
        found[1::2, 1::2] = np.maximum(beside, np.maximum(found[:-2:2, 1::2], found[2::2, 1::2]))
        return found

    def _strength(self, one: NdArray, other: NdArray) -> NdArray:
        """The strength between parts [...]."""
        found = np.where((one < 0) != (other < 0), np.inf, 0.0)
        apart = (one != other) & (one >= 0) & (other >= 0)
        a, b = one[apart], other[apart]
        last = np.full(len(a), -1)  # step on the way to where both meet
        steps, end = self.steps, len(self.costs)
        while (apart_yet := (a != b) & (np.minimum(steps[a], steps[b]) < end)).any():
            # Steps ascend on the way to the root, so that the end of the earlier goes on.
            first = apart_yet & (steps[a] <= steps[b])
            second = apart_yet & ~first
            last = np.where(first, steps[a], np.where(second, steps[b], last))
            a, b = np.where(first, self.parents[a], a), np.where(second, self.parents[b], b)
        joined = np.concatenate([self.strengths, [0.0]])[last]
        found[apart] = np.where(a == b, joined, np.inf)  # two roots never meet
        return found


def hierarchy_of(labels: ArrayLike, colours: ArrayLike, *, min_region: float = 0.0) -> Hierarchy:
    """The hierarchy of the connected parts of labels, by colours alone.

    That of a `jgmm.Segmentation` goes by its mixture and textures too.

    Args:
        labels: [H, W] integers; those below 0 are left out and belong to no region.
        colours: [H, W, C], in units in which distances mean something, such as L*a*b*.
        min_region: parts of fewer pixels are absorbed before the first cut.
    """
    return tree_of(connected_parts(labels), colours, min_region)


def connected_parts(labels: ArrayLike) -> NdArray:
    """The connected parts of labels, along sides of pixels [H, W] int32; -1 where left out."""
    from skimage.measure import label

    pixels = np.asarray(labels)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected integers [H, W], got {pixels.dtype} {pixels.shape}")
    # skimage takes 0 for background, unless told otherwise
    connected: Any = label
    parts = connected(np.maximum(pixels, -1), background=-1, connectivity=1)
    return np.asarray(parts, np.int32) - 1


def as_colours(colours: ArrayLike, parts: NdArray) -> NdArray:
    """Colours as floats [H, W, C].

    Raises:
        ValueError: another shape.
    """
    values = np.asarray(colours)
    if values.ndim != 3 or values.shape[:2] != parts.shape:
        raise ValueError(f"colours: expected {(*parts.shape, 'C')}, got shape {values.shape}")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def ends_of(parents: NdArray) -> NdArray:
    """Where the way from each [P] to its parent, and on, comes to an end."""
    while True:
        further: NdArray = parents[parents]
        if (further == parents).all():
            return parents
        parents = further


def tree_of(
    parts: NdArray,
    colours: ArrayLike,
    min_region: float = 0.0,
    cues: Cues | None = None,
    known: NdArray | None = None,
) -> Hierarchy:
    """The hierarchy of parts [H, W], each connected, numbered from 0; see `hierarchy_of`.

    ``cues`` are asked for what those are like that are left when small ones are absorbed, of which
    there may be many. ``known`` [H, W] are the labels of pixels that are known, -1 elsewhere, one
    in a part at most: those of different known labels are never joined, nor what they were joined
    to, so that a small part stays where all its neighbours have another label.
    """
    values = as_colours(colours, parts)
    n = int(parts.max()) + 1
    if n == 0:
        return Hierarchy(parts, np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
    graph = Graph(parts, values)
    if known is not None:
        graph.keep_apart(_of_parts(known, parts, n))
    graph.absorb(min_region)
    absorbed = len(graph.joins)
    if cues is not None:
        _, rows = np.unique(ends_of(_parents(graph)), return_inverse=True)
        graph.describe(cues(np.append(rows, -1)[parts]), rows)
    graph.merge()
    steps = np.full(n, len(graph.costs))
    if graph.joins:
        gone = np.array(graph.joins)[:, 1]
        steps[gone] = np.maximum(np.arange(-absorbed, len(graph.costs)), -1)
    return Hierarchy(parts, _parents(graph), steps, np.array(graph.costs))


def _of_parts(known: NdArray, parts: NdArray, n: int) -> list[int]:
    """The known label of each of n parts, -1 where there is none."""
    if known.shape != parts.shape:
        raise ValueError(f"known: expected labels {parts.shape}, got shape {known.shape}")
    found = np.full(n, -1)
    taken = (parts >= 0) & (known >= 0)
    found[parts[taken]] = known[taken]
    return list(found.tolist())


def _parents(graph: Graph) -> NdArray:
    """What each part [P] was joined to; itself where to none."""
    parents = np.arange(len(graph.sizes))
    if graph.joins:
        kept, gone = np.array(graph.joins).T
        parents[gone] = kept
    return parents


def by_size(labels: NdArray, inside: NdArray) -> NdArray:
    """Labels [H, W] numbered anew, the largest 0; -1 where not ``inside``."""
    flat = np.where(inside, labels, -1)
    counts = np.bincount(flat[inside], minlength=1)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(counts) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = -1
    return rank[flat]
