"""What is saved with a model, so that another image can be segmented as the first was."""

from __future__ import annotations

import os
import reprlib
from typing import Any

import jax

from jgmm._checks import as_number
from jgmm.cli.parameters import MOST_SEGMENTS
from jgmm.image.files import Image
from jgmm.image.recipe import from_metadata
from jgmm.image.samples import Samples
from jgmm.image.settings import Spatial
from jgmm.mixture import files
from jgmm.mixture.mixture import Mixture

_MOST_CHANNELS = 65_535


def metadata_of(image: Image, samples: Samples, features: str, spatial: Spatial) -> dict[str, Any]:
    """What `load_model` has to know of the image that a mixture was fitted to."""
    return {
        "features": features,
        "recipe": samples.recipe.to_metadata(),
        # A Potts fit is repeated as near as can be by smoothing: another image has other noise.
        "spatial": {
            "smooth": spatial.smoothing or bool(spatial.smooth or spatial.noise_model),
            "min_region": spatial.min_region,
            "merge": spatial.merge,
        },
        "channels": image.pixels.shape[2],
        "image_dtype": str(image.pixels.dtype),
    }


def load_model(model: str | os.PathLike[str]) -> tuple[Mixture, dict[str, Any]]:
    """A saved mixture and its metadata, ``recipe`` and ``spatial`` as objects.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no model that `jgmm segment` wrote, or one of features unknown here.
    """
    with jax.enable_x64(True):  # so that either precision is kept
        mixture, metadata = files.load_with_metadata(model)
    if not {"channels", "features"} <= metadata.keys():
        raise ValueError(
            f"expected a model that `jgmm segment` wrote, got another mixture: {model}"
        )
    features, spatial = metadata["features"], metadata.get("spatial", {})
    try:
        as_number("components", mixture.n_components, 1, MOST_SEGMENTS)
        as_number("channels", metadata["channels"], 1, _MOST_CHANNELS, whole=True)
        recipe = from_metadata(metadata.get("recipe", {"features": features}))
        if features != recipe.features:
            raise ValueError(f"expected the recipe of {reprlib.repr(features)}, got another")
        settings = Spatial(**spatial)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a model that `jgmm segment` wrote, but: {error}: {model}"
        ) from error
    return mixture, {**metadata, "recipe": recipe, "spatial": settings}
