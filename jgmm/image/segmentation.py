"""Images segmented by a mixture: from pixels to samples for a fit, and from a fit to labels."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._fold import block_size, map_samples, pad_rows
from jgmm._struct import struct
from jgmm.fitting import fit
from jgmm.image.colours import unique_colours
from jgmm.image.display import as_rgb
from jgmm.image.features import as_channels, of_colours, quantisation
from jgmm.image.files import Image, read_image
from jgmm.loop import FitResult
from jgmm.mixture import Mixture, centered, conform, log_joint, normalise, whiten, whitening

Array = npt.NDArray[Any]


@struct
class Segmentation:
    """An image cut into the segments of a mixture, on the host.

    Segment 0 is the component of the largest weight, and so on down, so that runs and numbers of
    components can be compared. Pixels that were left out have label -1.
    """

    labels: Array  # [H, W] int32, -1 where left out
    image: Array  # [H, W, 3] in the image's dtype: each pixel in the mean colour of its segment
    certainty: Array  # [H, W] float, the posterior probability of the label; 0 where left out
    fit: FitResult  # of the features, components by decreasing weight


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """What a fit needs of an image: the features of its distinct colours, weighted by counts."""

    features: Array  # [M, D]
    weights: Array  # [M]
    floor: Array  # [D], least variance relative to that of the features
    index: Array | None  # of each pixel that takes part, its sample; None where it is its own
    mask: Array  # [H, W] bool, True where a pixel takes part
    colours: Array  # [M, 3], as shown


def samples_of(
    image: ArrayLike | Image, features: str = "rgb", covariance_type: str = "full"
) -> Samples:
    """The samples of an image.

    Integer images are reduced to their distinct colours with counts as weights: the fit to those
    is the fit to all pixels, in a fraction of the work.

    Args:
        image: [H, W] or [H, W, C], uint8, uint16 or float in [0, 1], or an `Image` from a file.
        features: a name in `jgmm.image.features.FEATURES`.
        covariance_type: of the fit; `floor` depends on it.

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
    index = None
    weights = np.ones(len(flat))
    if flat.dtype.kind in "iu":
        flat, index, counts = unique_colours(flat)
        weights = counts.astype(float)
    dtype = np.dtype(jnp.result_type(float))
    values = of_colours(flat, features, dtype)
    if not np.isfinite(values).all():
        raise ValueError("expected finite pixels, got NaN or infinity")
    unit = _unit_variance(values, weights, isotropic=covariance_type == "spherical")
    # No component can be narrower than the rounding of its values, nor, where that is finer than
    # floating point can tell, than a millionth of the whole.
    step = quantisation(pixels.dtype, features) / unit
    return Samples(
        features=values,
        weights=weights.astype(dtype),
        floor=np.clip(step, 1e-6, 1).astype(dtype),
        index=index,
        mask=mask,
        colours=as_rgb(flat),
    )


def _unit_variance(values: Array, weights: Array, isotropic: bool) -> Array:
    """The variance [D] that ``reg_covar`` is relative to: see `jgmm._frame.measure`."""
    mean = np.average(values, axis=0, weights=weights)
    mean += np.average(values - mean, axis=0, weights=weights)  # exact for a constant feature
    variance = np.average((values - mean) ** 2, axis=0, weights=weights)
    varies = variance > (4 * np.finfo(values.dtype).eps * np.abs(mean)) ** 2
    typical = variance[varies].mean() if varies.any() else 1.0
    return np.where(varies & (not isotropic), variance, typical)


def by_weight(result: FitResult) -> FitResult:
    """The fit with its components in order of decreasing weight."""
    # On the host, where nothing is compiled for each number of components.
    mixture = jax.device_get(result.mixture)
    order = np.argsort(-mixture.weights, stable=True)
    tied = mixture.covariance_type == "tied"
    return dataclasses.replace(
        result,
        mixture=Mixture(
            weights=jnp.asarray(mixture.weights[order]),
            means=jnp.asarray(mixture.means[order]),
            covariances=jnp.asarray(mixture.covariances[slice(None) if tied else order]),
        ),
    )


def assign(mixture: Mixture, features: ArrayLike) -> tuple[Array, Array]:
    """The most probable component of each sample [N, D], and its posterior probability.

    The mixture is padded with components of weight 0 to one of few sizes, so that mixtures of
    different k share one compiled program.
    """
    mixture, samples = conform(mixture, features)
    k = mixture.n_components
    more = max(16, 1 << (k - 1).bit_length()) - k

    def pad(leaf: jax.Array, mode: Any) -> jax.Array:
        return jnp.asarray(np.pad(leaf, ((0, more), *((0, 0),) * (leaf.ndim - 1)), mode=mode))

    tied = mixture.covariance_type == "tied"
    padded = Mixture(
        weights=pad(mixture.weights, "constant"),
        means=pad(mixture.means, "edge"),
        covariances=mixture.covariances if tied else pad(mixture.covariances, "edge"),
    )
    labels, sure = jax.device_get(_assign(padded, pad_rows(samples)))
    return labels[: len(samples)], sure[: len(samples)]


@jax.jit
def _assign(mixture: Mixture, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
    mixture, pixels = centered(mixture, pixels)
    form = whitening(mixture)

    def block(samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        joint = log_joint(form, whiten(form, samples))
        p, total, _ = normalise(joint)
        return jnp.argmax(joint, axis=0).astype(jnp.int32), jnp.max(p, axis=0) / total

    return map_samples(block, pixels, block_size(mixture.n_components, mixture.n_features))


def segmentation_of(samples: Samples, result: FitResult) -> Segmentation:
    """What a fit makes of the image that the samples came from."""
    result = by_weight(result)
    labels, image, sure = apply(result.mixture, samples)
    return Segmentation(labels=labels, image=image, certainty=sure, fit=result)


def apply(mixture: Mixture, samples: Samples) -> tuple[Array, Array, Array]:
    """Labels, image in mean colours and certainty, as in `Segmentation`, under a mixture."""
    labels, sure = assign(mixture, samples.features)
    means = _mean_colours(samples, labels, mixture.n_components)
    return (
        _spread(samples, labels, -1),
        _spread(samples, means[labels], 0),
        _spread(samples, sure, 0),
    )


def _mean_colours(samples: Samples, labels: Array, k: int) -> Array:
    """The mean colour [K, 3] of the pixels of each segment, in the dtype of the colours."""
    weights = samples.weights.astype(float)
    total = np.bincount(labels, weights, minlength=k)
    sums = [np.bincount(labels, weights * band, minlength=k) for band in samples.colours.T]
    means = np.stack(sums, axis=-1) / np.maximum(total, 1)[:, None]
    if samples.colours.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(samples.colours.dtype)


def _spread(samples: Samples, values: Array, fill: int) -> Array:
    """Values of samples [M, ...] as an image [H, W, ...], ``fill`` where pixels are left out."""
    if samples.index is not None:
        values = values[samples.index]
    if samples.mask.all():
        return values.reshape(*samples.mask.shape, *values.shape[1:])
    image = np.full((*samples.mask.shape, *values.shape[1:]), fill, values.dtype)
    image[samples.mask] = values
    return image


def segment(
    image: ArrayLike | Image | str | os.PathLike[str],
    k: int,
    *,
    features: str = "rgb",
    **options: Any,
) -> Segmentation:
    """Segment an image by a mixture of k Gaussians over the features of its pixels.

    Runs on the host, not under a trace: the number of distinct colours is a matter of values.

    Args:
        image: [H, W] or [H, W, C], uint8, uint16 or float in [0, 1]; an `Image`; or a path.
            Transparent pixels take no part.
        k: the number of segments.
        features: "rgb", "lab", "gray" or "hsv".
        **options: for `jgmm.fit`: ``key``, ``init``, ``covariance_type``, ``n_restarts``,
            ``max_iter``, ``tol``, ``accelerate``, and ``reg_covar``, which here is by default the
            variance that rounding to the image's depth makes.

    Returns:
        The label of each pixel, the image in mean colours, how certain each label is, and the
        fit, whose log-likelihood is in nats per pixel.

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
    if "weights" in options:
        raise TypeError("weights: expected none, because segment weighs colours by their counts")
    _checks.as_count("k", k)
    if isinstance(image, str | os.PathLike):
        image = read_image(image)
    samples = samples_of(image, features, options.get("covariance_type", "full"))
    options.setdefault("reg_covar", samples.floor)
    result = fit(samples.features, k, weights=samples.weights, **options)
    return segmentation_of(samples, result)
