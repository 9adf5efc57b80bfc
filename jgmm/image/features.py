"""What a pixel is described by: colour spaces as pure functions of the pixel.

==========  =========================================================================
``rgb``     the channels of the file in [0, 1]: red, green, blue; for a multi-band
            image all its bands; for a grey image the one channel. Signed integers
            and floats, such as elevations, are as they are
``lab``     CIE L*a*b* of sRGB under D65, L in [0, 100]; for a grey image L alone
``gray``    luma, 0.2125 R + 0.7154 G + 0.0721 B (Rec. 709), in [0, 1]
``hsv``     the cone (s v cos h, s v sin h, v), as hue is an angle and means nothing
            in the dark; for a grey image v alone
==========  =========================================================================

A grey image has one axis of colour, so that it gets one feature: the same value copied to
several features would make every covariance singular.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]


def _rgb(unit: NdArray) -> NdArray:
    return unit


def _gray(unit: NdArray) -> NdArray:
    if unit.shape[-1] == 1:
        return unit
    red, green, blue = np.moveaxis(unit, -1, 0)
    return np.asarray(0.2125 * red + 0.7154 * green + 0.0721 * blue)[..., None]


def _lab(unit: NdArray) -> NdArray:
    from skimage.color import rgb2lab

    if unit.shape[-1] == 1:
        return np.asarray(rgb2lab(np.repeat(unit, 3, axis=-1)))[..., :1]
    return np.asarray(rgb2lab(unit))


def _hsv(unit: NdArray) -> NdArray:
    from skimage.color import rgb2hsv

    if unit.shape[-1] == 1:
        return unit
    hue, saturation, value = np.moveaxis(rgb2hsv(unit), -1, 0)
    angle, radius = 2 * np.pi * hue, saturation * value
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), value], axis=-1)


@dataclass(frozen=True)
class Feature:
    """A kind of feature.

    Attributes:
      compute: unit pixels [..., C] -> features [..., D], in the same dtype.
      colour: it needs a colour, 1 or 3 channels; otherwise any number of channels will do.
      scale: by how much a feature moves, about, when a channel moves by 1.
      pointwise: it depends on the pixel's own value alone, not on its place or its
        neighbours, so that it may be computed of the distinct colours only.
    """

    compute: Callable[[NdArray], NdArray]
    colour: bool
    scale: float
    pointwise: bool = True

    def n_features(self, channels: int) -> int:
        """D of so many channels; as many, where it refuses them."""
        if self.colour and channels not in (1, 3):
            return channels
        return self.compute(np.zeros((1, 1, channels), np.float32)).shape[-1]


FEATURES: dict[str, Feature] = {
    "rgb": Feature(_rgb, colour=False, scale=1.0),
    "lab": Feature(_lab, colour=True, scale=100.0),
    "gray": Feature(_gray, colour=True, scale=1.0),
    "hsv": Feature(_hsv, colour=True, scale=1.0),
}


def feature(name: str) -> Feature:
    """The kind of feature of that name.

    Raises:
      ValueError: there is none.
    """
    try:
        return FEATURES[name]
    except (KeyError, TypeError):
        raise ValueError(f"expected features {', '.join(FEATURES)}; got {name!r}") from None


def as_channels(image: npt.ArrayLike) -> NdArray:
    """The image as [H, W, C]: a grey one [H, W] gets its axis of one channel.

    Raises:
      ValueError: another shape, or no pixels.
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"expected an image [H, W] or [H, W, C], got shape {np.shape(image)}")
    return array


def to_unit(image: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> NdArray:
    """Pixels as floating point: uint8 / 255, uint16 / 65535, signed and float as they are.

    Args:
      image: array of any shape, uint8, uint16, signed integers or float.
      dtype: float32 or float64, of the result.

    Raises:
      TypeError: another dtype.

    Example:
      >>> to_unit(np.array([0, 51, 255], np.uint8)).tolist()
      [0.0, 0.20000000298023224, 1.0]
    """
    array, dtype = np.asarray(image), np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"expected dtype float32 or float64, got {dtype}")
    if array.dtype.kind in "fi":
        return array.astype(dtype)
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"expected uint8, uint16, signed or float pixels, got {array.dtype}")
    return np.asarray(array.astype(dtype) / dtype.type(np.iinfo(array.dtype).max))


def of_colours(
    colours: npt.ArrayLike, features: str = "rgb", dtype: npt.DTypeLike = np.float32
) -> NdArray:
    """Features of colours in any arrangement, [..., C] -> [..., D].

    Args:
      colours: [..., C] uint8, uint16 or float in [0, 1].
      features: a name in `FEATURES`.
      dtype: float32 or float64.

    Raises:
      ValueError: unknown name, or channels from which these features cannot be made.
      TypeError: unsuitable dtype.

    Example:
      >>> of_colours(np.array([[255, 255, 255], [0, 0, 0]], np.uint8), "gray").round(4).tolist()
      [[1.0], [0.0]]
    """
    kind = feature(features)
    unit = to_unit(colours, dtype)
    if unit.ndim == 0 or unit.shape[-1] == 0:
        raise ValueError(f"expected colours [..., C], got shape {unit.shape}")
    if kind.colour:
        if unit.shape[-1] not in (1, 3):
            raise ValueError(
                f"features {features!r} expected 1 or 3 channels, got {unit.shape[-1]}; "
                "'rgb' takes any number"
            )
        if unit.size and not (unit.min() >= 0 and unit.max() <= 1):
            bytes_in_disguise = unit.min() >= 0 and 1 < unit.max() <= 255
            hint = "'rgb' and 'bands' take any values"
            if bytes_in_disguise:
                hint = "of 8 bit colours pass image.astype(np.uint8)"
            raise ValueError(
                f"features {features!r} expected values in [0, 1], "
                f"got {unit.min():g} to {unit.max():g}; {hint}"
            )
    return kind.compute(unit).astype(unit.dtype, copy=False)


def extract(
    image: npt.ArrayLike, features: str = "rgb", dtype: npt.DTypeLike = np.float32
) -> NdArray:
    """Features of every pixel of an image, [H, W] or [H, W, C] -> [H, W, D].

    Args:
      image: uint8, uint16 or float in [0, 1].
      features: a name in `FEATURES`.
      dtype: float32 or float64.

    Raises:
      ValueError: unknown name, another shape, or channels that do not suit.
      TypeError: unsuitable dtype.

    Example:
      >>> extract(np.zeros((4, 5), np.uint8)).shape, extract(np.zeros((4, 5, 3)), "lab").shape
      ((4, 5, 1), (4, 5, 3))
    """
    return of_colours(as_channels(image), features, dtype)


def quantisation(image_dtype: npt.DTypeLike, features: str = "rgb") -> float:
    """The variance that rounding to the file's depth gives a feature: the floor of a covariance.

    Rounding to multiples of a step adds an error of variance step² / 12 (Bennett 1948). No
    component of a mixture should be narrower. The step is 1/255 or 1/65535, times the
    feature's scale. Floating point has no step of its own; it is taken as 12 bits, a good
    sensor's depth. Signed integers have steps of 1.

    Args:
      image_dtype: dtype of the image.
      features: a name in `FEATURES`.

    Returns:
      An absolute variance, in units of the feature squared.

    Raises:
      ValueError: unknown name.
      TypeError: a dtype that images do not have.

    Example:
      >>> f"{quantisation(np.uint8):.3g}"
      '1.28e-06'
    """
    dtype = np.dtype(image_dtype)
    if dtype.kind == "f":
        levels = 4095
    elif dtype.kind == "i":
        levels = 1
    elif dtype in (np.uint8, np.uint16):
        levels = int(np.iinfo(dtype).max)
    else:
        raise TypeError(f"expected uint8, uint16, signed or float, got {dtype}")
    return (feature(features).scale / levels) ** 2 / 12
