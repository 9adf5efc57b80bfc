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
from jgmm.image.features import of_colours
from jgmm.image.inputs import as_image
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
    bands: NdArray | None  # [M, C], all channels, where that is not what is shown
    recipe: Recipe  # of the features
    channels: int  # of the image
    dtype: str  # of the image
    band_names: tuple[str, ...] = ()  # of the channels, where the file names them


def samples_of(
    image: Any,
    features: str | Function | Recipe = "rgb",
    covariance_type: str = "full",
    *,
    labels: ArrayLike | None = None,
    xy_weight: float = 1.0,
    mask: ArrayLike | None = None,
    alpha: bool | None = None,
    channels: int | None = None,
    counts: NdArray | None = None,
) -> Samples:
    """The samples of an image.

    Integer images are reduced to their distinct colours with counts as weights: the fit to those
    is the fit to all pixels, in a fraction of the work. Not so where the position is a feature, or
    a function makes them: then every pixel is a sample.

    Args:
        image: [H, W] or [H, W, C], or whatever else `jgmm.image.inputs.as_image` takes.
        features: see `jgmm.image.recipe.recipe_of`; or a recipe that was made for another image.
        covariance_type: of the fit; `floor` depends on it.
        labels: [H, W] integers, the known components of pixels, -1 for unknown.
        xy_weight: how much the position counts among the features; see `recipe_of`.
        mask: [H, W], True where pixels take part; None for all.
        alpha: whether the last channel of an array is transparency; see `as_image`.
        channels: how many there are besides transparency, where that is known.
        counts: how often each pixel that takes part counts, row by row; None for once.

    Raises:
        TypeError: another dtype.
        ValueError: another shape, unknown features, values that are not finite, or no pixel that
            takes part.
    """
    # The name says that every channel is a band.
    every = isinstance(features, str) and features.startswith("bands")
    read = as_image(image, mask=mask, alpha=alpha, bands=every if channels is None else channels)
    pixels, part = read.pixels, read.alpha
    inside = np.ones(pixels.shape[:2], np.bool_) if part is None else part
    flat = pixels.reshape(-1, pixels.shape[2]) if part is None else pixels[inside]
    dtype = np.dtype(jnp.result_type(float))
    _expect_workable(flat, dtype)
    known = None if labels is None else _as_labels(labels, inside)
    if isinstance(features, Recipe):
        recipe = features
    else:
        recipe = recipe_of(features, pixels, part, xy_weight, counts)
    index = None
    weights = np.ones(len(flat)) if counts is None else counts
    if recipe.pointwise:
        if flat.dtype.kind in "iu":
            flat, known, index, times = _distinct(flat, known)
            weights = times if counts is None else np.bincount(index, counts, len(flat))
        values = recipe.of_colours(flat, dtype)
    else:
        if part is not None and recipe.function is None:  # what is left out may be anything
            pixels = np.where(part[:, :, None], pixels, pixels.dtype.type(0))
        values = recipe.of_image(pixels, dtype)[inside]
    if not np.isfinite(values).all():
        raise ValueError("features: expected finite values, got NaN or infinity")
    family = family_of(covariance_type, n_features=values.shape[-1])
    unit = _unit_variance(values, weights, isotropic=family.isotropic)
    # No component can be narrower than the rounding of its values, nor, where that is finer than
    # floating point can tell, than a millionth of the whole.
    step = recipe.rounding((*inside.shape, values.shape[1]), pixels.dtype) / unit
    return Samples(
        features=values,
        weights=weights.astype(dtype),
        floor=np.clip(step, 1e-6, 1).astype(dtype),
        labels=known,
        index=index,
        mask=inside,
        colours=as_rgb(flat),
        bands=None if flat.shape[1] in (1, 3) else flat,
        recipe=recipe,
        channels=pixels.shape[2],
        dtype=str(pixels.dtype),
        band_names=read.band_names if len(read.band_names) == pixels.shape[2] else (),
    )


def _expect_workable(flat: NdArray, dtype: np.dtype[Any]) -> None:
    """Refuse pixels [N, C] of which no features can be made in ``dtype``."""
    if len(flat) == 0:
        raise ValueError(
            "expected pixels that take part, got an image all transparent, not finite or no data"
        )
    if not np.isfinite(flat).all():
        raise ValueError(
            "expected finite pixels, got NaN or infinity, which a mask may leave out: "
            "mask=np.isfinite(image).all(axis=-1)"
        )
    # Of float64 there are squares to be summed.
    most = min(float(np.finfo(dtype).max), 1e140)
    if flat.dtype.kind == "f" and (largest := float(np.abs(flat).max())) > most:
        raise ValueError(f"expected pixels of at most {most:.3g}, got {largest:.3g}")


def _as_labels(labels: ArrayLike, mask: NdArray) -> NdArray:
    array = np.asarray(labels)
    if isinstance(labels, np.ma.MaskedArray):  # what is masked is unknown
        array = np.where(np.ma.getmaskarray(labels), -1, labels.data)
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


def comparable_colours(original: NdArray, inside: NdArray) -> NdArray:
    """The colours of an image [H, W, 3] as shown, so that distances between them mean something.

    L*a*b* with half the weight on L, which light and shadow change most; 0 where not ``inside``.
    """
    colours = original[inside]
    index = None
    if colours.dtype.kind in "iu":  # there are fewer colours than pixels
        colours, index, _ = unique_colours(colours)
    shown = display_of(colours[None])(colours[None])[0]
    values = of_colours(shown, "lab") * np.array([0.5, 1, 1], np.float32)
    found = np.zeros(original.shape, values.dtype)
    found[inside] = values if index is None else values[index]
    return found
