"""Images segmented by the model of another."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jgmm.image.files import opened
from jgmm.image.model import ImageModel
from jgmm.image.model_file import load_model
from jgmm.image.samples import Samples, samples_of
from jgmm.image.segmentation import Segmentation, segmentation_by


def apply(
    model: Segmentation | ImageModel | str | os.PathLike[str],
    image: Any,
    *,
    mask: ArrayLike | None = None,
    alpha: bool | None = None,
    labels: ArrayLike | None = None,
) -> Segmentation:
    """Segment an image by the model of another.

    The image is described as that of the fit was: by the same features with the same scales, with
    the same smoothing and merging. Of that image itself it gives the same labels, if ``labels``
    are those of the fit.

    Args:
        model: a `Segmentation`, an `ImageModel`, or the path of a file with one, as `jgmm segment`
            or `jgmm.save` writes it.
        image: as of `jgmm.segment`.
        mask: as of `jgmm.segment`, of this image.
        alpha: as of `jgmm.segment`. The number of channels that the model expects says it as well.
        labels: as of `jgmm.segment`, of this image. Those of the fit are no part of the model.

    Returns:
        The segmentation. Its ``fit`` is empty but for the mixture.

    Raises:
        OSError: the file cannot be read.
        TypeError: what is no model of images, as a mixture alone, or an argument of the wrong type.
        ValueError: an image that does not suit the model, an unsuitable shape or file.

    Example:
        >>> import numpy as np, jgmm
        >>> image = np.zeros((4, 6, 3), np.uint8)
        >>> image[:, 4:] = 200, 100, 0
        >>> found = jgmm.segment(image, 2)
        >>> jgmm.apply(found, image[:, ::-1]).labels[0].tolist()
        [1, 1, 0, 0, 0, 0]
    """
    if isinstance(model, str | os.PathLike):
        model = load_model(model)
    if isinstance(model, Segmentation):
        model = model.model
    if not isinstance(model, ImageModel):
        raise TypeError(
            f"model: expected a Segmentation, an ImageModel or the path of one, "
            f"got {type(model).__name__}; jgmm.predict labels features by a mixture"
        )
    setup = model.setup
    with jax.enable_x64(model.mixture.means.dtype == np.float64):
        samples = samples_of(
            opened(image, 4),
            setup.recipe,
            model.mixture.covariance_type,
            labels=labels,
            mask=mask,
            alpha=alpha,
            channels=setup.channels,
        )
        return apply_to(model, samples)


def apply_to(model: ImageModel, samples: Samples) -> Segmentation:
    """The segmentation of samples that were made by the recipe of the model."""
    model.setup.refuse_unlike(samples)
    if samples.features.shape[1] != model.mixture.n_features:
        raise ValueError(
            f"the model expects {model.mixture.n_features} features, "
            f"got {samples.features.shape[1]} of the image"
        )
    return segmentation_by(model.mixture, samples, model.setup.spatial)
