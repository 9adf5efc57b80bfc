"""The original beside its segmentations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from jgmm.plot._canvas import DPI, INK, LINE, MUTED, SMALL, TEXT, blank

NdArray = npt.NDArray[Any]
_LONGEST = 8.0  # times as long as wide
_AREA = 2000.0  # square inches for all panels, which bounds the memory that they take


def comparison(
    original: npt.ArrayLike,
    images: Mapping[int, npt.ArrayLike],
    log_likelihoods: Mapping[int, float],
) -> Figure:
    """The original beside its segmentations, each under its k and mean log-likelihood.

    An image more than eight times as long as wide, or as wide as long, is drawn as if it were not.

    Args:
      original: [H, W] or [H, W, C], uint8, uint16 or float. With more than 4 bands the first
        three are shown as red, green and blue.
      images: k -> the segmented image, of the same kinds.
      log_likelihoods: k -> mean nats per pixel.

    Returns:
      The figure.

    Raises:
      ValueError: an array that is no image, or a k without log-likelihood.

    Example:
      >>> grey = np.zeros((4, 6), np.uint8)
      >>> len(comparison(grey, {3: grey, 5: grey}, {3: 2.9, 5: 3.8}).axes)
      3
    """
    if missing := [k for k in images if k not in log_likelihoods]:
        raise ValueError(f"expected a log-likelihood for every k, got none for {missing}")
    panels = [(_image(original), "original", "")]
    for k, image in images.items():
        score = f"log-likelihood {float(log_likelihoods[k]):.3f}"
        panels.append((_image(image), f"k = {k}", score))
    height, width = panels[0][0].shape[:2]
    aspect = min(max(width / height, 1 / _LONGEST), _LONGEST)
    columns, panel = _grid(len(panels), aspect)
    rows, margin, heading = math.ceil(len(panels) / columns), 0.15, 0.32  # inches
    tall = panel / aspect
    size = (
        columns * (panel + margin) + margin,
        rows * (tall + margin + heading) + margin,
    )
    figure = blank(*size, layout="none")
    for index, (image, name, score) in enumerate(panels):
        row, column = divmod(index, columns)
        left = margin + column * (panel + margin)
        bottom = size[1] - (row + 1) * (tall + margin + heading)
        box = (left / size[0], bottom / size[1], panel / size[0], tall / size[1])
        ax = figure.add_axes(box, facecolor=LINE, xticks=[], yticks=[])  # grey where transparent
        ax.spines[:].set_visible(False)
        # Far more pixels than the panel has only cost time and memory.
        down, right = (
            max(1, n // math.ceil(2 * DPI * inches))
            for n, inches in zip(image.shape[:2], (tall, panel), strict=True)
        )
        shown = _displayable(image[::down, ::right])
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect="auto")
        ax.set_title(name, loc="left", fontsize=TEXT, fontweight="bold", color=INK, pad=5)
        ax.set_title(score, loc="right", fontsize=SMALL, color=MUTED, pad=5)
    return figure


def _image(image: npt.ArrayLike) -> NdArray:
    """Any image as [H, W] or [H, W, 3 or 4]."""
    array = np.asarray(image)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"expected an image [H, W] or [H, W, C], got shape {array.shape}")
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        return array[:, :, :3] if array.shape[2] > 4 else array[:, :, 0]
    return array


def _displayable(array: NdArray) -> NdArray:
    """Pixels as float in [0, 1]; floats beyond that are scaled into it."""
    if array.dtype.kind == "u":
        return array / np.float32(np.iinfo(array.dtype).max)
    array = array.astype(np.float32)
    low, high = min(0.0, float(array.min())), max(1.0, float(array.max()))
    return (array - low) / (high - low)


def _grid(count: int, aspect: float) -> tuple[int, float]:
    """Columns, and the width of a panel in inches, that show ``count`` panels largest."""
    wide, tall = 13.0, 8.5  # inches at most
    sizes = []
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        panel = min(wide / columns, (tall / rows - 0.5) * aspect)
        sizes.append((panel, -columns))
    panel, columns = max(sizes)
    least = min(2.4, math.sqrt(_AREA * aspect / count))
    return -columns, min(max(panel, least), 6.0)
