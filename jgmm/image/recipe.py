"""Features of an image by name or by function, with the scales that were measured on it.

``rgb``, ``lab``, ``gray`` and ``hsv`` are described in `jgmm.image.features`. ``bands`` is every
channel of the file with mean 0 and standard deviation 1. Any of them with ``+xy`` has the position
of the pixel as two more features. A recipe is kept with a saved mixture, so that another image is
described exactly as the first was.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._checks import LARGEST, as_number
from jgmm.image.colours import unique_colours
from jgmm.image.features import FEATURES, feature, of_colours, quantisation, to_unit

NdArray = npt.NDArray[Any]
Function = Callable[[NdArray], npt.ArrayLike]

NAMES = tuple(f"{name}{more}" for name in (*FEATURES, "bands") for more in ("", "+xy"))


@dataclass(frozen=True)
class Recipe:
    """How to describe the pixels of an image.

    Attributes:
      features: one of `NAMES`, or "custom".
      center: of the bands, subtracted; empty where nothing is.
      scale: of the bands, divided by.
      position: what the square root of the image's area counts, in units of the features.
      function: of "custom": image [H, W, C] -> [H, W, D].
    """

    features: str
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    position: float = 0.0
    function: Function | None = None

    @property
    def base(self) -> str:
        """The name without ``+xy``."""
        return self.features.removesuffix("+xy")

    @property
    def has_position(self) -> bool:
        """Whether the position is among the features."""
        return self.features.endswith("+xy")

    @property
    def pointwise(self) -> bool:
        """Whether pixels of one colour have the same features wherever they are."""
        return self.function is None and not self.has_position

    def of_colours(self, colours: NdArray, dtype: npt.DTypeLike) -> NdArray:
        """Features of colours [..., C], but for the position: [..., D]."""
        if self.base != "bands":
            return of_colours(colours, self.base, dtype)
        # Centered before they are rounded, where they have more digits than ``dtype`` may have.
        unit = to_unit(colours, np.float64 if colours.dtype in (np.int32, np.float64) else dtype)
        if unit.shape[-1] != len(self.center):
            raise ValueError(f"expected {len(self.center)} bands, got {unit.shape[-1]}")
        center, scale = (np.array(values, unit.dtype) for values in (self.center, self.scale))
        return np.asarray((unit - center) / scale).astype(dtype, copy=False)

    def of_image(self, pixels: NdArray, dtype: npt.DTypeLike) -> NdArray:
        """Features of every pixel of an image, [H, W, C] -> [H, W, D]."""
        if self.function is not None:
            values = np.asarray(self.function(pixels))
            if values.ndim != 3 or values.shape[:2] != pixels.shape[:2] or 0 in values.shape:
                raise ValueError(
                    f"features: expected the function to return {(*pixels.shape[:2], 'D')}, "
                    f"got shape {values.shape}"
                )
            return values.astype(dtype)
        height, width = pixels.shape[:2]
        if pixels.dtype.kind in "iu":  # there are fewer colours than pixels
            colours, index, _ = unique_colours(pixels.reshape(height * width, -1))
            values = self.of_colours(colours, dtype)[index].reshape(height, width, -1)
        else:
            values = self.of_colours(pixels, dtype)
        if not self.has_position:
            return values
        places = positions(height, width) * self.position
        return np.concatenate([values, places.astype(values.dtype)], axis=-1)

    def rounding(self, shape: tuple[int, ...], image_dtype: npt.DTypeLike) -> NdArray:
        """The variance [D] that rounding, of values and to whole pixels, gives each feature.

        Args:
          shape: of the features, [H, W, D].
          image_dtype: of the pixels.
        """
        height, width, d = shape
        if self.function is not None:
            return np.zeros(d)
        n = d - 2 * self.has_position
        if self.base == "bands":
            floors = quantisation(image_dtype, "rgb") / np.array(self.scale) ** 2
        else:
            floors = np.full(n, quantisation(image_dtype, self.base))
        step = self.position / math.sqrt(height * width)
        return np.concatenate([floors, np.full(d - n, step**2 / 12)])

    def to_metadata(self) -> dict[str, Any]:
        """What JSON can say of it."""
        content = asdict(self)
        del content["function"]
        return content


def n_features(features: str, channels: int) -> int:
    """How many features D one of `NAMES` makes of so many channels.

    Example:
      >>> n_features("gray+xy", 3), n_features("bands", 8)
      (3, 8)
    """
    recipe = Recipe(features)
    n = channels if recipe.base == "bands" else feature(recipe.base).n_features(channels)
    return n + 2 * recipe.has_position


def positions(height: int, width: int) -> NdArray:
    """Column and row of every pixel [H, W, 2] over the square root of the area.

    Example:
      >>> positions(2, 2)[1].tolist()
      [[0.0, 0.5], [0.5, 0.5]]
    """
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows], axis=-1) / math.sqrt(height * width)


def recipe_of(
    features: str | Function,
    pixels: NdArray,
    mask: NdArray | None = None,
    position: float = 1.0,
    counts: NdArray | None = None,
) -> Recipe:
    """The recipe for features of this image and of others like it.

    Args:
      features: one of `NAMES`, or a function of an image [H, W, C] to [H, W, D].
      pixels: [H, W, C] uint8, uint16 or float.
      mask: [H, W], True for the pixels that count; None for all.
      position: with ``+xy``, how much the square root of the area counts against three
        standard deviations of the other features. Components with covariances of their own adapt
        to any scale, so that this matters for spherical covariances alone.
      counts: how often each of the pixels that count does so; None for once.

    Raises:
      ValueError: an unknown name, a weight of position that is not above 0, or numbers that no
        model can hold.

    Example:
      >>> image = np.array([[[0, 10], [2, 10]]], np.float32)
      >>> recipe_of("bands", image).of_image(image, np.float32).tolist()
      [[[-1.0, 0.0], [1.0, 0.0]]]
    """
    if callable(features):
        return Recipe("custom", function=features)
    if features not in NAMES:
        raise ValueError(f"expected features {', '.join(NAMES)}; got {features!r}")
    recipe = Recipe(features)
    counted = pixels if mask is None else pixels[mask]
    counted = counted.reshape(-1, pixels.shape[-1])
    if recipe.base == "bands":
        unit = to_unit(counted, np.float64)
        center = np.average(unit, axis=0, weights=counts)
        spread = np.sqrt(np.average((unit - center) ** 2, axis=0, weights=counts))
        spread = np.where(_varies(unit) & (spread >= 1 / LARGEST), spread, 1)
        if (largest := np.abs([center, spread]).max()) > LARGEST:
            raise ValueError(f"bands: expected values of at most {LARGEST:g}, got {largest:.3g}")
        recipe = Recipe(features, tuple(center.tolist()), tuple(spread.tolist()))
    if not (math.isfinite(position) and position > 0):
        raise ValueError(f"xy_weight: expected a finite number above 0, got {position!r}")
    if not recipe.has_position:
        return recipe
    values = recipe.of_colours(counted, np.dtype(np.float64))
    size = 3 * float(np.sqrt(np.mean(np.where(_varies(values), values.var(axis=0), 0))))
    if size < 1 / LARGEST:
        size = 1.0
    height, width = pixels.shape[:2]
    if (reach := position * size * max(height, width) / math.sqrt(height * width)) > LARGEST:
        raise ValueError(
            f"xy_weight: expected positions of at most {LARGEST:g} beside these pixels, "
            f"got {reach:.3g}"
        )
    return Recipe(recipe.features, recipe.center, recipe.scale, position * size)


def _varies(values: NdArray) -> NdArray:
    """Which columns [D] vary at all: the variance of a constant is not always 0, but rounding."""
    return np.asarray(np.ptp(values, axis=0) > 0)


def from_metadata(content: Any) -> Recipe:
    """The recipe that `Recipe.to_metadata` wrote; whatever came from a file is looked at.

    Raises:
      ValueError: it is none, or one of a function, which cannot be written.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"expected a recipe of features, got {reprlib.repr(content)}")
    features = content.get("features")
    if not (isinstance(features, str) and features in NAMES):
        raise ValueError(f"expected features {', '.join(NAMES)}; got {reprlib.repr(features)}")
    center, scale = content.get("center", ()), content.get("scale", ())
    if not (isinstance(center, list | tuple) and isinstance(scale, list | tuple)):
        raise ValueError("expected center and scale as lists of numbers, got something else")
    if len(center) != len(scale) or bool(center) != (features.removesuffix("+xy") == "bands"):
        raise ValueError(
            f"expected a center and a scale for each of the bands and nothing else, got "
            f"{len(center)} and {len(scale)} for {features}"
        )
    try:
        return Recipe(
            features,
            tuple(float(as_number("center", v, -LARGEST, LARGEST)) for v in center),
            tuple(float(as_number("scale", v, 1 / LARGEST, LARGEST)) for v in scale),
            float(as_number("position", content.get("position", 0.0), 0, LARGEST)),
        )
    except TypeError as error:
        raise ValueError(str(error)) from error
