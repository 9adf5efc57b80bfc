"""The hierarchy of an image, made when first asked for."""

from __future__ import annotations

from typing import Any

import jax
import numpy.typing as npt

from jgmm.image.cues import deviation_histograms, posterior_sums
from jgmm.image.hierarchy import Cues, Hierarchy, tree_of
from jgmm.image.samples import Samples, comparable_colours
from jgmm.image.texture import local_deviation, with_texture
from jgmm.mixture.mixture import Mixture

NdArray = npt.NDArray[Any]
_WIDTHS = (0.0076, 0.023, 0.069)  # in which colours deviate, relative to √(H·W)


@jax.tree_util.register_static
class Trees:
    """The hierarchy of an image, kept for as long as the arrays that it is of are the same."""

    def __init__(self, samples: Samples | None = None) -> None:
        """``samples`` of the image, let go of with the first tree; without, colours alone count."""
        self._samples = samples
        self._of: tuple[NdArray, NdArray, float, NdArray | None, Hierarchy] | None = None

    def __eq__(self, other: object) -> bool:
        """What is kept is no part of what is compared."""
        return isinstance(other, Trees)

    def __hash__(self) -> int:
        """The same for all, as all are equal."""
        return hash(Trees)

    def of(
        self,
        parts: NdArray,
        original: NdArray,
        min_region: float,
        mixture: Mixture,
        known: NdArray | None = None,
    ) -> Hierarchy:
        """The hierarchy of parts of an image, under the mixture of its samples.

        Parts of different labels that are ``known`` [H, W], -1 elsewhere, stay apart.
        """
        kept = self._of
        if (
            kept is None
            or kept[0] is not parts
            or kept[1] is not original
            or kept[2] != min_region
            or kept[3] is not known
        ):
            colours, cues = described(original, parts >= 0, mixture, self._samples)
            tree = tree_of(parts, colours, min_region, cues, known)
            kept = self._of = parts, original, min_region, known, tree
            self._samples = None
        return kept[4]


def described(
    original: NdArray, inside: NdArray, mixture: Mixture, samples: Samples | None
) -> tuple[NdArray, Cues]:
    """What `tree_of` goes by: colours with texture [H, W, 4], and cues of textures.

    Where the samples of the image are there, of the posteriors of the mixture, too.
    """
    colours = comparable_colours(original, inside)
    deviations = [local_deviation(colours, inside, width) for width in _WIDTHS]

    def cues(parts: NdArray) -> list[NdArray]:
        found = [deviation_histograms(deviations, parts)]
        if samples is not None and samples.mask.shape == parts.shape:
            found.append(posterior_sums(mixture, samples, parts))
        return found

    return with_texture(colours, deviations[1]), cues
