"""`segment` and `apply`: an image in, a segmentation out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import unheard, warn_of_status
from jgmm.data.interruptible import interruptible
from jgmm.em.prior import Prior
from jgmm.em.result import FitResult
from jgmm.families.table import with_rank
from jgmm.fitting.choice import choose
from jgmm.fitting.delivery import cannot_converge
from jgmm.fitting.fitting import fit
from jgmm.fitting.progress import shown
from jgmm.fitting.sweeps import sweep
from jgmm.image.batches import per_image
from jgmm.image.files import opened
from jgmm.image.recipe import Function, Recipe
from jgmm.image.samples import Samples, samples_of
from jgmm.image.segmentation import (
    Segmentation,
    potts_segmentation,
    segmentation_of,
)
from jgmm.image.settings import Spatial, candidates
from jgmm.mixture.mixture import FitLike, Mixture


def fit_samples(samples: Samples, k: int | str, choose_by: str, **options: Any) -> FitResult:
    """The mixture of the samples, with k components or as many as the program chooses."""
    options = {
        "reg_covar": samples.floor,
        "weights": samples.weights,
        "labels": samples.labels,
        "short_runs": False,  # without a search the history is the whole way
        **options,
    }
    if k != "auto":
        return fit(samples.features, _checks.as_count("k", k), **options)
    swept = sweep(samples.features, candidates(samples.labels), **options)
    return swept[choose(swept, choose_by)]


def _samples_of(
    image: Any,
    *,
    mask: ArrayLike | None = None,
    alpha: bool | None = None,
    features: str | Function | Recipe = "rgb",
    xy_weight: float = 1.0,
    labels: ArrayLike | None = None,
    covariance_type: str = "full",
    rank: int | None = None,
    level: int = 5,
    **_: Any,
) -> Samples:
    """What `segment` makes of an image first, of the same keywords."""
    return samples_of(
        opened(image, level),
        features,
        with_rank(covariance_type, rank),
        labels=labels,
        xy_weight=xy_weight,
        mask=mask,
        alpha=alpha,
    )


@per_image(_samples_of)
def segment(
    image: Any,
    k: int | str,
    *,
    mask: ArrayLike | None = None,
    alpha: bool | None = None,
    features: str | Function | Recipe = "rgb",
    xy_weight: float = 1.0,
    labels: ArrayLike | None = None,
    smooth: bool | Mapping[str, float] = False,
    noise_model: str | None = None,
    beta: float | str = "auto",
    min_region: float = 0,
    merge: float = 0.0,
    n_regions: int | None = None,
    choose_by: str | None = None,
    key: jax.Array | int | None = None,
    init: str | Mixture | FitLike | Segmentation | ArrayLike = "kmeans",
    covariance_type: str = "full",
    rank: int | None = None,
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike | None = None,
    accelerate: bool | None = None,
    prior: Prior | str | None = None,
    search: str | None = None,
    progress: bool = False,
) -> Segmentation:
    """Segment an image by a mixture of k Gaussians over the features of its pixels.

    As it is, every pixel is labelled by its own features: the textbook's mixture. For photographs
    with segments such as people would draw, take ``**jgmm.image.RECOMMENDED``, and with options of
    your own ``**jgmm.image.RECOMMENDED | {"merge": 2.0}``, where those on the right win.

    Runs on the host, not under a trace: the number of distinct colours is a matter of values.

    Args:
        image: a path; an array [H, W] or [H, W, C], uint8, uint16 or float in [0, 1], or signed
            or other floats, which keep their units; an image of Pillow; or a `jgmm.image.Image`.
            Pixels that are transparent, or masked in a masked array, take no part. Several images
            are a list of such, of any sizes, or an array [B, H, W, C], and each has its own fit,
            which may end in another optimum than alone (experiments/FEATURES.md).
        k: the number of segments; "auto" chooses among `CANDIDATES`.
        mask: [H, W] bool or integers, True or not 0 where pixels take part; None for all. (NumPy's
            masked arrays say it the other way round.) Of several images one for each, or None;
            so too ``labels``.
        alpha: whether the last channel of an array is transparency. It must be said of 2 or 4
            channels, but for the features "bands", to which every channel is a band.
        features: "rgb", "lab", "gray", "hsv" or "bands", each also with "+xy"; or a function of
            an image [H, W, C] to features [H, W, D].
        xy_weight: how much the position counts with "+xy" for "spherical" covariances: 1 makes
            the square root of the image's area three standard deviations of the other features.
            The other families adapt to the scale of each feature, and give the same for any.
        labels: [H, W] integers, the known components of pixels, -1 for unknown: scribbles. They
            stay so, and segments that have labels keep those as their numbers. With ``merge``,
            ``n_regions`` or ``min_region`` known pixels decide on the label of their region, and
            regions of different known labels are never joined.
        smooth: infer the labels under a spatial prior, after the fit; a mapping has other than
            the default settings of `jgmm.image.spatial.smooth`.
        noise_model: "potts" fits under a spatial prior, for images that are mostly noise.
        beta: of the Potts prior; see `jgmm.image.potts.fit_potts`.
        min_region: connected regions of fewer pixels are absorbed by a neighbour, unless all
            neighbours have another known label.
        merge: merge neighbouring regions while that costs less than ``merge`` times √(H·W), so
            the more the larger: about 3 leaves what people would draw, 0 merges none. The cost is
            one of colours, textures and posteriors of the mixture; see `jgmm.image.merging`. A
            region that was joined has one label, that of most of its pixels.
        n_regions: merge neighbouring regions until so many are left, in place of ``merge``; more
            where nothing connects them, or known labels keep them apart.
        choose_by: "knee", "icl" or "bic", for k = "auto"; None for the knee, or for BIC with
            ``merge`` or ``n_regions``, which do best from many segments.
        key: as of `jgmm.fit`, like those that follow.
        init: where to start; also an earlier `Segmentation` of the same features.
        covariance_type: "full", "tied", "diag", "spherical", another of mclust's fourteen by its
            name, such as "VEV", or "factor(2)" or "ppca(2)" (experiments/FAMILIES.md).
        rank: see `jgmm.fit`.
        distribution: see `jgmm.fit`: "student_t" for images with dead pixels or dust.
        degrees_of_freedom: see `jgmm.fit`.
        n_restarts: fits from different starts.
        max_iter: steps at most; with a ``noise_model`` see `jgmm.image.potts.fit_potts`.
        tol: stop when the objective gains less, in nats per pixel.
        reg_covar: least variance relative to the features'; None for the variance that rounding
            to the image's depth makes.
        accelerate: extrapolate with SQUAREM; None where that is possible, as it is not with a
            ``noise_model``.
        prior: for a fit of highest posterior density; not with a ``noise_model``, which has one
            of its own.
        search: see `jgmm.fit`; None for "best", or for none with a ``noise_model``. With "none"
            the learning curve shows the whole way from the start.
        progress: show a bar while mixtures are fitted; see `jgmm.fit`. With a ``noise_model`` it
            moves on after each start, and after the fit from the best of them.

    Returns:
        The label of each pixel, the image in mean colours, how certain each label is, connected
        regions, and the fit, whose log-likelihood is in nats per pixel, and its objective with a
        ``noise_model`` that of `fit_potts`. Of several images a list.

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
    spatial = Spatial(smooth, noise_model, beta, min_region, merge, n_regions)
    if noise_model is not None:
        unused = {"labels": labels, "prior": prior, "accelerate": accelerate, "search": search}
        for name, value in unused.items():
            if value is not None:
                raise ValueError(f"{name}: expected none with noise_model, which has no use for it")
    rule = choose_by or spatial.rule
    covariance_type = with_rank(covariance_type, rank)
    samples = image
    if not isinstance(image, Samples):
        samples = _samples_of(
            image,
            mask=mask,
            alpha=alpha,
            features=features,
            xy_weight=xy_weight,
            labels=labels,
            covariance_type=covariance_type,
            level=6,
        )
    options: dict[str, Any] = {
        "key": key,
        "init": init.fit if isinstance(init, Segmentation) else init,
        "covariance_type": covariance_type,
        "distribution": distribution,
        "degrees_of_freedom": degrees_of_freedom,
        "n_restarts": n_restarts,
        "max_iter": max_iter,
        "tol": tol,
        "reg_covar": samples.floor if reg_covar is None else reg_covar,
    }
    beyond = {
        "accelerate": accelerate is not False,
        "prior": prior,
        "search": "best" if search is None else search,
    }

    def work() -> Segmentation:
        with unheard():  # of the fits of other k
            if noise_model is None:
                found = fit_samples(samples, k, rule, **options, **beyond)
                return segmentation_of(samples, found, spatial)
            chosen = k
            if chosen == "auto":
                chosen = fit_samples(samples, k, rule, **options).mixture.n_components
            return potts_segmentation(samples, int(chosen), spatial, **options)

    with shown(progress):
        result = interruptible(work)
    warn_of_status(result.fit.status, on_purpose=cannot_converge(options))
    return result
