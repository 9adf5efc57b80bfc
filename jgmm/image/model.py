"""What segments images: a mixture, and how images are described to it."""

from __future__ import annotations

import dataclasses
import reprlib
from typing import Any

import jax
import numpy as np

from jgmm._checks import as_number, one_of
from jgmm._struct import struct
from jgmm.image.recipe import Recipe, from_metadata
from jgmm.image.samples import Samples
from jgmm.image.settings import Spatial
from jgmm.mixture.mixture import Mixture

_MOST_CHANNELS = 65_535
_KINDS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
_DTYPES = tuple(dict.fromkeys(str(np.dtype(order + kind)) for kind in _KINDS for order in "<>"))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Setup:
    """How pixels are described to a mixture, and how labels see their neighbours.

    Attributes:
        recipe: the features of a pixel, with the scales measured on the image of the fit.
        spatial: smoothing, regions and merging.
        channels: of the image of the fit, transparency apart.
        dtype: of that image.
        band_names: of its channels, where its file names them.
    """

    recipe: Recipe
    spatial: Spatial
    channels: int
    dtype: str
    band_names: tuple[str, ...] = ()

    def refuse_unlike(self, samples: Samples) -> None:
        """Raise a ValueError for samples of an image that is not as that of the fit was."""
        if samples.channels != self.channels and self.recipe.function is None:
            raise ValueError(
                f"the model expects an image of {self.channels} channels, got {samples.channels}"
            )
        # Intensities are in [0, 1], quantities in units of their own; floats may be either.
        kinds = {np.dtype(self.dtype).kind, np.dtype(samples.dtype).kind}
        if kinds == {"u", "i"}:
            raise ValueError(
                f"the model expects an image of {self.dtype}, as it was fitted to, "
                f"got {samples.dtype}, whose values mean something else"
            )

    def to_metadata(self) -> dict[str, Any]:
        """What a file says of it.

        Raises:
            ValueError: features that a function makes, which no file can hold.
        """
        if self.recipe.function is not None:
            raise ValueError(
                "save: expected features by name, got a function, which no file can hold; "
                "save the mixture (.fit.mixture) and make its features by the same function"
            )
        spatial = dataclasses.asdict(self.spatial)
        return {
            "features": self.recipe.features,
            "recipe": self.recipe.to_metadata(),
            "spatial": {**spatial, "smooth": self.spatial.smoothing or bool(self.spatial.smooth)},
            "channels": self.channels,
            "image_dtype": self.dtype,
            **({"band_names": list(self.band_names)} if self.band_names else {}),
        }


def setup_of(samples: Samples, spatial: Spatial) -> Setup:
    """The setup of a fit to an image."""
    return Setup(samples.recipe, spatial, samples.channels, samples.dtype, samples.band_names)


def setup_from(metadata: dict[str, Any]) -> Setup:
    """The setup that `Setup.to_metadata` wrote.

    Raises:
        ValueError: it is none.
    """
    features = metadata.get("features")
    try:
        as_number("channels", metadata.get("channels"), 1, _MOST_CHANNELS, whole=True)
        recipe = from_metadata(metadata.get("recipe", {"features": features}))
        if features != recipe.features:
            raise ValueError(f"expected the recipe of {reprlib.repr(features)}, got another")
        return Setup(
            recipe,
            _spatial(metadata.get("spatial", {})),
            metadata["channels"],
            one_of("image_dtype", metadata.get("image_dtype", "uint8"), _DTYPES),
            _names(metadata.get("band_names", []), metadata["channels"]),
        )
    except TypeError as error:
        raise ValueError(str(error)) from error


def _names(content: Any, channels: int) -> tuple[str, ...]:
    """The names of bands that a file has, if there is one for each or none at all."""
    texts = isinstance(content, list) and all(isinstance(name, str) for name in content)
    if not texts or len(content) not in (0, channels):
        raise ValueError(
            f"band_names: expected {channels} names or none, got {reprlib.repr(content)}"
        )
    return tuple(content)


def _spatial(content: Any) -> Spatial:
    """The settings that a file has, if it has no others."""
    known = [field.name for field in dataclasses.fields(Spatial)]
    if not isinstance(content, dict) or not set(content) <= set(known):
        raise ValueError(
            f"expected spatial settings {', '.join(known)}; got {reprlib.repr(content)}"
        )
    return Spatial(**content)


@struct
class ImageModel:
    """A mixture and how images are described to it: what `jgmm.apply` needs.

    A `Segmentation` has one, `jgmm.save` writes it to a file, and `jgmm.load_model` reads it.
    """

    mixture: Mixture  # of the features
    setup: Setup  # static

    def described(self) -> tuple[Mixture, dict[str, Any]]:
        """The mixture, and what `jgmm.save` writes beside it."""
        return self.mixture, self.setup.to_metadata()
