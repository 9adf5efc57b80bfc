"""The hierarchy of an image, made when first asked for."""

from __future__ import annotations

from typing import Any

import jax
import numpy.typing as npt

from jgmm.image.hierarchy import Hierarchy, tree_of
from jgmm.image.samples import comparable_colours
from jgmm.image.texture import with_texture

NdArray = npt.NDArray[Any]


@jax.tree_util.register_static
class Trees:
    """The hierarchy of an image, kept for as long as the arrays that it is of are the same."""

    def __init__(self) -> None:
        """None is kept yet."""
        self._of: tuple[NdArray, NdArray, float, Hierarchy] | None = None

    def __eq__(self, other: object) -> bool:
        """What is kept is no part of what is compared."""
        return isinstance(other, Trees)

    def __hash__(self) -> int:
        """The same for all, as all are equal."""
        return hash(Trees)

    def of(self, parts: NdArray, original: NdArray, min_region: float) -> Hierarchy:
        """The hierarchy of parts of an image."""
        kept = self._of
        if kept is None or kept[0] is not parts or kept[1] is not original or kept[2] != min_region:
            inside = parts >= 0
            colours = with_texture(comparable_colours(original, inside), inside)
            kept = parts, original, min_region, tree_of(parts, colours, min_region)
            self._of = kept
        return kept[3]
