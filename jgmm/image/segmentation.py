"""Images segmented by a mixture: from pixels to samples for a fit, and from a fit to labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import Status
from jgmm._struct import Shown, Table, number, struct
from jgmm.em.result import FitResult, of_components
from jgmm.image.display import Display, as_rgb, display_of
from jgmm.image.hierarchy import Hierarchy, by_size, connected_parts
from jgmm.image.model import ImageModel, Setup, setup_of
from jgmm.image.painting import paint, vote
from jgmm.image.potts import fit_potts
from jgmm.image.potts_labels import potts_labels
from jgmm.image.samples import Samples, spread
from jgmm.image.settings import NOT_SPATIAL, Spatial
from jgmm.image.spatial import smooth as spatial_prior
from jgmm.image.table import region_table, segment_table
from jgmm.image.trees import Trees
from jgmm.mixture.components import few_sizes
from jgmm.mixture.density import evaluate
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.shown import kind

NdArray = npt.NDArray[Any]


@struct
class Segmentation(Shown):
    """An image cut into the segments of a mixture, on the host.

    Segment 0 is the component of the largest weight, and so on down, so that runs and numbers of
    components can be compared. Pixels that were left out have label -1. Libraries such as
    scikit-image take label 0 for background: give them ``labels + 1``.

    It is a model too: `jgmm.apply` segments other images by it, and `jgmm.save` writes what that
    takes. The mixture alone does not say of what features it is.

    Attributes:
        labels: [H, W] int32, -1 where left out.
        image: [H, W, 3] in the image's dtype, each pixel in the mean colour of its segment.
        original: [H, W, 3], the image itself, of many bands the first three; 0 where left out.
        bands: [H, W, C], all channels, where there are others than these; None otherwise.
        certainty: the posterior probability of the label [H, W]; 0 where left out.
        regions: connected parts of segments [H, W] int32, the largest 0; -1 where left out.
        parts: what regions are merged from: the same before any was absorbed or merged; int32.
        fit: the `FitResult` of the features of the pixels, components by decreasing weight.
        setup: the features, and how labels see their neighbours; static.
        known: the labels that were known [H, W] int32, -1 elsewhere; None where none were. Regions
            of different ones stay apart.
        trees: those that were made for `hierarchy`, kept.

    Example:
        >>> import numpy as np, jgmm
        >>> from skimage.measure import regionprops
        >>> image = np.zeros((4, 6), np.uint8)
        >>> image[:, 4:] = 200
        >>> picture = jgmm.segment(image, 2)
        >>> [int(region.area) for region in regionprops(picture.labels + 1)]
        [16, 8]
    """

    labels: NdArray
    image: NdArray
    original: NdArray
    certainty: NdArray
    regions: NdArray
    parts: NdArray
    fit: FitResult
    setup: Setup
    bands: NdArray | None = None
    known: NdArray | None = None
    trees: Trees = dataclasses.field(default_factory=Trees)

    @property
    def model(self) -> ImageModel:
        """What segments other images alike."""
        return ImageModel(mixture=self.fit.mixture, setup=self.setup)

    def described(self) -> tuple[Mixture, dict[str, Any]]:
        """The mixture, and what `jgmm.save` writes beside it."""
        return self.model.described()

    @property
    def hierarchy(self) -> Hierarchy:
        """All scales of the regions: see `jgmm.image.hierarchy.Hierarchy`.

        Its finest cut has parts of fewer than ``min_region`` pixels absorbed, and no cut joins
        what has different known labels. It is made when first
        asked for, unless regions were merged, and then kept; from ten thousands of parts that
        takes seconds, and with ``min_region`` a fraction of one.

        Example:
            >>> import numpy as np, jgmm
            >>> image = np.zeros((4, 6, 3), np.uint8)
            >>> image[:, 2:4], image[:, 4:] = 20, 200
            >>> jgmm.segment(image, 3).hierarchy.cut(n_regions=2)[0].tolist()
            [0, 0, 0, 0, 1, 1]
        """
        return self.trees.of(
            self.parts,
            self.original,
            self.setup.spatial.min_region,
            self.fit.mixture,
            self.known,
        )

    def table(self) -> dict[str, NdArray]:
        """A row for each segment, as columns: see `jgmm.image.table.segment_table`.

        Example:
            >>> import numpy as np, jgmm
            >>> image = np.zeros((4, 6, 3), np.uint8)
            >>> image[:, 4:] = 200, 100, 0
            >>> table = jgmm.segment(image, 2).table()
            >>> table["pixels"].tolist(), table["red"].tolist()
            ([16, 8], [0.0, 200.0])
        """
        return segment_table(self)

    def region_table(self) -> dict[str, NdArray]:
        """A row for each connected region, as columns: see `jgmm.image.table.region_table`.

        Example:
            >>> import numpy as np, jgmm
            >>> image = np.zeros((4, 6, 3), np.uint8)
            >>> image[:, 4:] = 200, 100, 0
            >>> table = jgmm.segment(image, 2).region_table()
            >>> table["hex"].tolist(), table["neighbours"].tolist()
            (['#000000', '#c86400'], ['1', '0'])
        """
        return region_table(self)

    def _tables(self) -> tuple[Table]:
        return (self._table(10),)

    def summary(self) -> Table:
        """How many pixels each segment has, and how certain they are, as a table to print."""
        return self._table(self.fit.mixture.n_components)

    def _table(self, most: int) -> Table:
        height, width = self.labels.shape
        k = self.fit.mixture.n_components
        taken = self.labels >= 0
        sizes = np.bincount(self.labels[taken], minlength=k)
        sure = np.bincount(self.labels[taken], self.certainty[taken], minlength=k)
        known = np.isfinite(np.asarray(self.fit.log_likelihood))
        how = f", {Status(int(self.fit.status)).name}" if known else ""
        left = int(self.labels.size - sizes.sum())
        return Table(
            f"Segmentation of {width} x {height} pixels by {kind(self.fit.mixture)}{how}",
            ("segment", "pixels", "share", "certainty"),
            [
                (
                    str(i),
                    f"{sizes[i]:,}",
                    f"{sizes[i] / max(sizes.sum(), 1):.1%}",
                    number(sure[i] / sizes[i], 3) if sizes[i] else "-",
                )
                for i in range(min(k, most))
            ],
            [
                *([f"  and {k - most} more segments"] if k > most else []),
                *([f"  {left:,} pixels were left out"] if left else []),
            ],
            self._colours()[:most],
            "mean colour",
        )

    def _picture(self) -> str:
        return self.fit._picture()

    def _colours(self) -> list[str]:
        """How the mean colour of each segment is shown, as hex; "" of one without pixels."""
        taken = self.labels >= 0
        one = np.full(self.fit.mixture.n_components, -1)
        inside = self.labels[taken]
        one[inside] = np.arange(len(inside))  # any pixel of a segment has its mean colour
        limits = display_of(self.original, taken)
        show = Display(limits.black, limits.white)
        shown = show(self.image[taken][one][None])[0].tolist()
        return [f"#{bytes(rgb).hex()}" if i >= 0 else "" for rgb, i in zip(shown, one, strict=True)]


def ordered(result: FitResult, labels: NdArray | None = None) -> FitResult:
    """The fit with its components in order of decreasing weight.

    Those that ``labels`` name keep their numbers; the others take the numbers that are left.
    """
    # On the host, where nothing is compiled for each number of components.
    result = jax.device_get(result)
    order = np.arange(result.mixture.n_components)
    free = order if labels is None else np.setdiff1d(order, labels)
    order[free] = free[np.argsort(-result.mixture.weights[free], stable=True)]
    return jax.tree.map(_checks.as_array, of_components(result, order))


def assign(mixture: Mixture, features: ArrayLike) -> tuple[NdArray, NdArray]:
    """The most probable component of each sample [N, D], and its posterior probability.

    Mixtures of different k share one compiled program.
    """
    found = evaluate(few_sizes(mixture), features, "labels", "certainty")
    labels, sure = jax.device_get(found)
    return labels, sure


def segmentation_of(
    samples: Samples, result: FitResult, spatial: Spatial = NOT_SPATIAL
) -> Segmentation:
    """What a fit makes of the image that the samples came from."""
    result = ordered(result, samples.labels)
    found = segmentation_by(result.mixture, samples, spatial)
    return dataclasses.replace(found, fit=result)


def segmentation_by(
    mixture: Mixture, samples: Samples, spatial: Spatial = NOT_SPATIAL
) -> Segmentation:
    """The segmentation under a mixture that may have been fitted to another image.

    Its ``fit`` is empty but for the mixture.
    """
    if not (spatial.smooth or spatial.noise_model):
        flat, certain = assign(mixture, samples.features)
        labels, sure = spread(samples, flat, -1), spread(samples, certain, 0)
    else:
        grid = spread(samples, samples.features, 0)
        if spatial.noise_model:
            assert isinstance(spatial.beta, float | int)
            labels, sure = potts_labels(mixture, grid, samples.mask, beta=spatial.beta)
        else:
            labels, sure = spatial_prior(mixture, grid, samples.mask, **spatial.smoothing)
    return _segmentation(samples, _only(mixture), labels, sure, spatial)


def potts_segmentation(samples: Samples, k: int, spatial: Spatial, **options: Any) -> Segmentation:
    """Fit under a Potts prior, and infer the labels under it; see `fit_potts`, `potts_labels`."""
    grid = spread(samples, samples.features, 0)
    found = fit_potts(grid, k, samples.mask, beta=spatial.beta, **options)
    if found.fit.status == Status.NONFINITE:  # there is nothing to infer them by
        untied = dataclasses.replace(spatial, beta=0.0)
        return _segmentation(samples, found.fit, found.labels, found.certainty, untied)
    return segmentation_of(samples, found.fit, dataclasses.replace(spatial, beta=found.beta))


def _segmentation(
    samples: Samples, fit: FitResult, labels: NdArray, sure: NdArray, spatial: Spatial
) -> Segmentation:
    drawn = None if samples.labels is None else spread(samples, samples.labels, -1)
    known = None if drawn is None else drawn >= 0
    if drawn is not None and known is not None:
        labels, sure = np.where(known, drawn, labels), np.where(known, 1, sure)
    bands = None if samples.bands is None else spread(samples, samples.bands, 0)
    original = spread(samples, samples.colours, 0) if bands is None else as_rgb(bands)
    parts, trees = connected_parts(labels), Trees(samples)
    if spatial.as_drawn:
        regions = by_size(parts, parts >= 0)
    else:
        tree = trees.of(parts, original, spatial.min_region, fit.mixture, drawn)
        regions = spatial.cut(tree)
        voted = vote(regions, labels, known)
        sure = np.where(voted == labels, sure, 1 - sure)  # no other can have more than the rest
        labels = voted
    return Segmentation(
        labels=labels,
        image=paint(original, labels),
        original=original,
        certainty=sure,
        regions=regions,
        parts=parts,
        fit=fit,
        setup=setup_of(samples, spatial),
        bands=bands,
        known=drawn,
        trees=trees,
    )


def _only(mixture: Mixture) -> FitResult:
    nothing = _checks.as_array(jnp.nan, mixture.means.dtype)
    return FitResult(
        mixture=mixture,
        log_likelihood=nothing,
        objective=nothing,
        history=_checks.as_array(np.array([np.nan]), mixture.means.dtype),
        n_iter=_checks.as_array(0, jnp.int32),
        status=_checks.as_array(int(Status.MAX_ITER), jnp.int32),
    )
