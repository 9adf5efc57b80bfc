"""What a fit needs of an image: features of its pixels or of its distinct colours."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm.families.table import family_of
from jgmm.image.colours import unique_colours
from jgmm.image.display import as_rgb, display_of
from jgmm.image.features import as_channels, of_colours
from jgmm.image.files import Image
from jgmm.image.recipe import Function, Recipe, recipe_of

NdArray = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """What a fit needs of an image: the features of its distinct colours, weighted by counts."""

    features: NdArray  # [M, D]
    weights: NdArray  # [M]
    floor: NdArray  # [D], least variance relative to that of the features
    labels: NdArray | None  # [M] known components, -1 for unknown
    index: NdArray | None  # of each pixel that takes part, its sample; None where it is its own
    mask: NdArray  # [H, W] bool, True where a pixel takes part
    colours: NdArray  # [M, 3], as shown
    recipe: Recipe  # of the features


def samples_of(
    image: ArrayLike | Image,
    features: str | Function | Recipe = "rgb",
    covariance_type: str = "full",
    *,
    labels: ArrayLike | None = None,
    xy_weight: float = 1.0,
) -> Samples:
    """The samples of an image.

    Integer images are reduced to their distinct colours with counts as weights: the fit to those
    is the fit to all pixels, in a fraction of the work. Not so where the position is a feature, or
    a function makes them: then every pixel is a sample.

    Args:
        image: [H, W] or [H, W, C], uint8, uint16 or float in [0, 1], or an `Image` from a file.
        features: see `jgmm.image.recipe.recipe_of`; or a recipe that was made for another image.
        covariance_type: of the fit; `floor` depends on it.
        labels: [H, W] integers, the known components of pixels, -1 for unknown.
        xy_weight: how much the position counts among the features; see `recipe_of`.

    Raises:
        TypeError: another dtype.
        ValueError: another shape, unknown features, values that are not finite, or no pixel that
            takes part.
    """
    alpha = image.alpha if isinstance(image, Image) else None
    pixels = as_channels(image.pixels if isinstance(image, Image) else np.asarray(image))
    mask = np.ones(pixels.shape[:2], np.bool_) if alpha is None else alpha
    flat = pixels.reshape(-1, pixels.shape[2]) if alpha is None else pixels[mask]
    if len(flat) == 0:
        raise ValueError("expected an image with pixels that are not transparent, got none")
    known = None if labels is None else _as_labels(labels, mask)
    if isinstance(features, Recipe):
        recipe = features
    else:
        recipe = recipe_of(features, pixels, alpha, xy_weight)
    dtype = np.dtype(jnp.result_type(float))
    index = None
    weights = np.ones(len(flat))
    if recipe.pointwise:
        if flat.dtype.kind in "iu":
            flat, known, index, counts = _distinct(flat, known)
            weights = counts.astype(float)
        values = recipe.of_colours(flat, dtype)
    else:
        values = recipe.of_image(pixels, dtype)[mask]
    if not np.isfinite(values).all():
        raise ValueError("expected finite pixels, got NaN or infinity")
    unit = _unit_variance(values, weights, isotropic=family_of(covariance_type).isotropic)
    # No component can be narrower than the rounding of its values, nor, where that is finer than
    # floating point can tell, than a millionth of the whole.
    step = recipe.rounding((*mask.shape, values.shape[1]), pixels.dtype) / unit
    return Samples(
        features=values,
        weights=weights.astype(dtype),
        floor=np.clip(step, 1e-6, 1).astype(dtype),
        labels=known,
        index=index,
        mask=mask,
        colours=as_rgb(flat),
        recipe=recipe,
    )


def _as_labels(labels: ArrayLike, mask: NdArray) -> NdArray:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got {array.dtype}")
    if array.shape != mask.shape:
        raise ValueError(f"labels: expected shape {mask.shape} of the image, got {array.shape}")
    known: NdArray = array[mask].astype(np.int32)
    if known.min() < -1:
        raise ValueError(f"labels: expected -1 (unknown) and up, got {known.min()}")
    return known


def _distinct(
    flat: NdArray, known: NdArray | None
) -> tuple[NdArray, NdArray | None, NdArray, NdArray]:
    """The distinct colours, their labels if any, of each pixel its colour, and their counts.

    A colour that is labelled here and unknown there is two samples.
    """
    if known is None:
        colours, index, counts = unique_colours(flat)
        return colours, None, index, counts
    rows, index, counts = unique_colours(np.column_stack([flat.astype(np.int32), known]))
    return rows[:, :-1].astype(flat.dtype), rows[:, -1].astype(np.int32), index, counts


def _unit_variance(values: NdArray, weights: NdArray, isotropic: bool) -> NdArray:
    """The variance [D] that ``reg_covar`` is relative to: see `jgmm.data.frame.measure`."""
    share = weights / weights.sum()  # by products, which NumPy makes faster than averages
    mean = share @ values
    mean += share @ (values - mean)  # exact for a constant feature
    variance = share @ (values - mean) ** 2
    varies = variance > (4 * np.finfo(values.dtype).eps * np.abs(mean)) ** 2
    typical = variance[varies].mean() if varies.any() else 1.0
    return np.where(varies & (not isotropic), variance, typical)


def spread(samples: Samples, values: NdArray, fill: int) -> NdArray:
    """Values of samples [M, ...] as an image [H, W, ...], ``fill`` where pixels are left out."""
    if samples.index is not None:
        values = values[samples.index]
    if samples.mask.all():
        return values.reshape(*samples.mask.shape, *values.shape[1:])
    image = np.full((*samples.mask.shape, *values.shape[1:]), fill, values.dtype)
    image[samples.mask] = values
    return image


def comparable_colours(samples: Samples) -> NdArray:
    """The colours of the samples [M, 3] as shown, so that distances between them mean something.

    L*a*b* with half the weight on L, which light and shadow change most.
    """
    shown = display_of(samples.colours[None])(samples.colours[None])[0]
    return of_colours(shown, "lab") * np.array([0.5, 1, 1], np.float32)
