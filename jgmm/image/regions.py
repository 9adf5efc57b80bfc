"""Connected regions: parts of segments, small ones absorbed, like neighbours merged."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm.image.hierarchy import as_colours, by_size, connected_parts, tree_of

NdArray = npt.NDArray[Any]


def find_regions(
    labels: ArrayLike, colours: ArrayLike, *, min_region: float = 0.0, merge: float = 0.0
) -> NdArray:
    """Cut labels into connected regions, absorb the small and merge those of like colours.

    A `jgmm.Segmentation` merges by its mixture and textures too.

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
    parts = connected_parts(labels)
    values = as_colours(colours, parts)
    if not (min_region or merge):
        return by_size(parts, parts >= 0)
    return tree_of(parts, values, min_region).cut(merge=merge)
