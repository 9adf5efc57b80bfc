"""Images segmented by a mixture: from pixels to samples for a fit, and from a fit to labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import Status, warn_of_status
from jgmm._struct import Table, number, plain, struct, values_known
from jgmm._warnings import unheard
from jgmm.data.interruptible import interruptible
from jgmm.em.prior import Prior
from jgmm.em.result import FitResult
from jgmm.fitting.choice import choose
from jgmm.fitting.delivery import cannot_converge
from jgmm.fitting.fitting import fit
from jgmm.fitting.sweeps import sweep
from jgmm.image.files import Image, read_image
from jgmm.image.painting import paint, vote
from jgmm.image.potts import fit_potts
from jgmm.image.recipe import Function, Recipe
from jgmm.image.regions import find_regions
from jgmm.image.samples import Samples, comparable_colours, samples_of, spread
from jgmm.image.settings import NOT_SPATIAL, Spatial, candidates
from jgmm.image.spatial import smooth as spatial_prior
from jgmm.image.texture import with_texture
from jgmm.mixture.density import evaluate
from jgmm.mixture.mixture import FitLike, Mixture, few_sizes, take
from jgmm.mixture.shown import kind

NdArray = npt.NDArray[Any]


@struct
class Segmentation:
    """An image cut into the segments of a mixture, on the host.

    Segment 0 is the component of the largest weight, and so on down, so that runs and numbers of
    components can be compared. Pixels that were left out have label -1. Libraries such as
    scikit-image take label 0 for background: give them ``labels + 1``.

    Attributes:
        labels: [H, W] int32, -1 where left out.
        image: [H, W, 3] in the image's dtype, each pixel in the mean colour of its segment.
        certainty: the posterior probability of the label [H, W]; 0 where left out.
        regions: connected parts of segments [H, W] int32, the largest 0; -1 where left out.
        fit: the `FitResult` of the features of the pixels, components by decreasing weight.

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
    certainty: NdArray
    regions: NdArray
    fit: FitResult

    def __repr__(self) -> str:
        """A table of the segments, and how the fit ended."""
        return str(self._table(10)) if values_known(self) else plain(self)

    def _repr_html_(self) -> str | None:
        """The same for Jupyter."""
        return self._table(10)._repr_html_() if values_known(self) else None

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
        )


def ordered(result: FitResult, labels: NdArray | None = None) -> FitResult:
    """The fit with its components in order of decreasing weight.

    Those that ``labels`` name keep their numbers; the others take the numbers that are left.
    """
    # On the host, where nothing is compiled for each number of components.
    mixture: Mixture = jax.device_get(result.mixture)
    order = np.arange(mixture.n_components)
    free = order if labels is None else np.setdiff1d(order, labels)
    order[free] = free[np.argsort(-mixture.weights[free], stable=True)]
    sorted_mixture = jax.tree.map(jnp.asarray, take(mixture, order))
    return dataclasses.replace(result, mixture=sorted_mixture)


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
    return dataclasses.replace(apply(result.mixture, samples, spatial), fit=result)


def apply(mixture: Mixture, samples: Samples, spatial: Spatial = NOT_SPATIAL) -> Segmentation:
    """The segmentation under a mixture that may have been fitted to another image.

    Its ``fit`` is empty but for the mixture.
    """
    if not spatial.smooth:
        flat, certain = assign(mixture, samples.features)
        labels, sure = spread(samples, flat, -1), spread(samples, certain, 0)
    else:
        grid = spread(samples, samples.features, 0)
        labels, sure = spatial_prior(mixture, grid, samples.mask, **spatial.smoothing)
    return _segmentation(samples, _only(mixture), labels, sure, spatial)


def potts_segmentation(samples: Samples, k: int, spatial: Spatial, **options: Any) -> Segmentation:
    """Fit under a Potts prior, and segment by what was inferred; see `fit_potts`."""
    grid = spread(samples, samples.features, 0)
    found = fit_potts(grid, k, samples.mask, beta=spatial.beta, **options)
    result = ordered(found.fit)
    order = np.argsort(-np.asarray(found.fit.mixture.weights), stable=True)
    rank = np.append(np.argsort(order), -1).astype(np.int32)
    labels = rank[found.labels]
    return _segmentation(samples, result, labels, found.certainty, spatial)


def _segmentation(
    samples: Samples, fit: FitResult, labels: NdArray, sure: NdArray, spatial: Spatial
) -> Segmentation:
    known = None
    if samples.labels is not None:
        drawn = spread(samples, samples.labels, -1)
        known = drawn >= 0
        labels, sure = np.where(known, drawn, labels), np.where(known, 1, sure)
    plain = not (spatial.min_region or spatial.merge)
    if plain:
        colours = spread(samples, samples.colours, 0)
    else:
        colours = with_texture(spread(samples, comparable_colours(samples), 0), samples.mask)
    options = {"min_region": spatial.min_region, "merge": spatial.merge}
    regions = find_regions(labels, colours, **options)
    if not plain:
        voted = vote(regions, labels, known)
        sure = np.where(voted == labels, sure, 1 - sure)  # no other can have more than the rest
        labels = voted
    return Segmentation(
        labels=labels,
        image=paint(spread(samples, samples.colours, 0), labels),
        certainty=sure,
        regions=regions,
        fit=fit,
    )


def _only(mixture: Mixture) -> FitResult:
    nothing = jnp.asarray(jnp.nan, mixture.means.dtype)
    return FitResult(
        mixture=mixture,
        log_likelihood=nothing,
        objective=nothing,
        history=nothing[None],
        n_iter=jnp.asarray(0, jnp.int32),
        status=jnp.asarray(int(Status.MAX_ITER), jnp.int32),
    )


def fit_samples(samples: Samples, k: int | str, choose_by: str, **options: Any) -> FitResult:
    """The mixture of the samples, with k components or as many as the program chooses."""
    options = {
        "reg_covar": samples.floor,
        "weights": samples.weights,
        "labels": samples.labels,
        "short_runs": False,  # the history is the whole way
        **options,
    }
    if k != "auto":
        return fit(samples.features, _checks.as_count("k", k), **options)
    swept = sweep(samples.features, candidates(samples.labels), **options)
    return swept[choose(swept, choose_by)]


def segment(
    image: ArrayLike | Image | str | os.PathLike[str],
    k: int | str,
    *,
    features: str | Function | Recipe = "rgb",
    xy_weight: float = 1.0,
    labels: ArrayLike | None = None,
    smooth: bool | Mapping[str, float] = False,
    noise_model: str | None = None,
    beta: float | str = "auto",
    min_region: float = 0,
    merge: float = 0.0,
    choose_by: str | None = None,
    key: jax.Array | int | None = None,
    init: str | Mixture | FitLike | Segmentation | ArrayLike = "kmeans",
    covariance_type: str = "full",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike | None = None,
    accelerate: bool | None = None,
    prior: Prior | str | None = None,
) -> Segmentation:
    """Segment an image by a mixture of k Gaussians over the features of its pixels.

    As it is, every pixel is labelled by its own features: the textbook's mixture. For photographs
    with segments such as people would draw, take ``**jgmm.image.RECOMMENDED``, and with options of
    your own ``**jgmm.image.RECOMMENDED | {"merge": 3.0}``, where those on the right win.

    Runs on the host, not under a trace: the number of distinct colours is a matter of values.

    Args:
        image: [H, W] or [H, W, C], uint8, uint16 or float in [0, 1]; an `Image`; or a path.
            Transparent pixels take no part.
        k: the number of segments; "auto" chooses among `CANDIDATES`.
        features: "rgb", "lab", "gray", "hsv" or "bands", each also with "+xy"; or a function of
            an image [H, W, C] to features [H, W, D].
        xy_weight: how much the position counts with "+xy" for "spherical" covariances: 1 makes
            the square root of the image's area three standard deviations of the other features.
            The other families adapt to the scale of each feature, and give the same for any.
        labels: [H, W] integers, the known components of pixels, -1 for unknown: scribbles. They
            stay so, and segments that have labels keep those as their numbers. With ``merge`` or
            ``min_region`` known pixels decide on the label of their region.
        smooth: infer the labels under a spatial prior, after the fit; a mapping has other than
            the default settings of `jgmm.image.spatial.smooth`.
        noise_model: "potts" fits under a spatial prior, for images that are mostly noise.
        beta: of the Potts prior; see `jgmm.image.potts.fit_potts`.
        min_region: connected regions of fewer pixels are absorbed by a neighbour.
        merge: merge neighbouring regions, the more the larger; see
            `jgmm.image.regions.find_regions`. A region that was joined has one label, that of most
            of its pixels.
        choose_by: "knee", "icl" or "bic", for k = "auto"; None for the knee, or for BIC with
            ``merge``, which does best from many segments.
        key: as of `jgmm.fit`, like those that follow.
        init: where to start; also an earlier `Segmentation` of the same features.
        covariance_type: "full", "tied", "diag" or "spherical".
        n_restarts: fits from different starts.
        max_iter: steps at most.
        tol: stop when the objective gains less, in nats per pixel.
        reg_covar: least variance relative to the features'; None for the variance that rounding
            to the image's depth makes.
        accelerate: extrapolate with SQUAREM; None where that is possible, as it is not with a
            ``noise_model``.
        prior: for a fit of highest posterior density; not with a ``noise_model``, which has one
            of its own.

    Returns:
        The label of each pixel, the image in mean colours, how certain each label is, connected
        regions, and the fit, whose log-likelihood is in nats per pixel, and its objective with a
        ``noise_model`` that of `fit_potts`.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a file that is not an image, k < 1, unknown names, an unsuitable shape.

    Example:
        >>> import numpy as np, jgmm
        >>> image = np.zeros((4, 6, 3), np.uint8)
        >>> image[:, 4:] = 200, 100, 0
        >>> result = jgmm.segment(image, 2)
        >>> result.labels[0].tolist(), result.image[0, 5].tolist()
        ([0, 0, 0, 0, 1, 1], [200, 100, 0])
    """
    if isinstance(k, str) and k != "auto":
        raise ValueError(f"k: expected an integer or 'auto', got {k!r}")
    if k != "auto":
        k = _checks.as_count("k", k)
    spatial = Spatial(smooth, noise_model, beta, min_region, merge)
    if noise_model is not None:
        for name, value in (("labels", labels), ("prior", prior), ("accelerate", accelerate)):
            if value is not None:
                raise ValueError(f"{name}: expected none with noise_model, which has no use for it")
    rule = choose_by or spatial.rule
    if isinstance(image, str | os.PathLike):
        image = read_image(image)
    samples = samples_of(image, features, covariance_type, labels=labels, xy_weight=xy_weight)
    options: dict[str, Any] = {
        "key": key,
        "init": init.fit if isinstance(init, Segmentation) else init,
        "covariance_type": covariance_type,
        "n_restarts": n_restarts,
        "max_iter": max_iter,
        "tol": tol,
        "reg_covar": samples.floor if reg_covar is None else reg_covar,
    }
    beyond = {"accelerate": accelerate is not False, "prior": prior}

    def work() -> Segmentation:
        with unheard():  # of the fits of other k
            if noise_model is None:
                found = fit_samples(samples, k, rule, **options, **beyond)
                return segmentation_of(samples, found, spatial)
            chosen = k
            if chosen == "auto":
                chosen = fit_samples(samples, k, rule, **options).mixture.n_components
            return potts_segmentation(samples, int(chosen), spatial, **options)

    result = interruptible(work)
    warn_of_status(result.fit.status, on_purpose=cannot_converge(options))
    return result
