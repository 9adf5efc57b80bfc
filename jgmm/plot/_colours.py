"""Colours: where pixels lie in RGB or L*a*b*, what the palette is, where labels are sure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patheffects import withStroke

from jgmm.plot._canvas import INK, SMALL, new_axes, single

NdArray = npt.NDArray[Any]
_POINTS = 5000  # so many are drawn at most
_ROUNDING = 1e-3  # so far floats may lie outside of [0, 1], as of images made smaller
_DISCS = 5.0  # above points and grid
_AXES = {"rgb": ("red", "green", "blue"), "lab": ("a*", "b*", "L*")}


def colours(pixels: npt.ArrayLike, fit: Any = None, *, space: str = "rgb", ax: Any = None) -> Any:
    """Pixels as points in a space of colours, each in its own colour, and the means of a mixture.

    Args:
        pixels: [..., 3] red, green and blue: uint8, uint16, or floats in [0, 1]; of more than
            5,000 every so manieth is drawn.
        fit: a mixture of the same, in [0, 1] as `jgmm.segment` has it, or a fit; None for none.
            Its means are drawn as discs above the points, the larger the weight.
        space: "rgb" or "lab".
        ax: three-dimensional axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: another space, pixels that are no such colours, a batch of fits, or a mixture of
            other features.

    Example:
        >>> colours(np.zeros((2, 2, 3), np.uint8), space="lab").get_zlabel()
        'L*'
    """
    if space not in _AXES:
        raise ValueError(f"space: expected 'rgb' or 'lab', got {space!r}")
    unit = _unit(pixels).reshape(-1, 3)
    unit = unit[:: max(1, -(-len(unit) // _POINTS))]
    weights, means = (None, None) if fit is None else _colour_means(fit)
    axes = new_axes(ax, 6.2, 5.6, projection="3d")
    axes.scatter(*_placed(unit, space), c=unit, s=5, lw=0, depthshade=False)
    if weights is not None and means is not None:
        look = {"s": 40 + 500 * weights, "ec": INK, "lw": 1.2, "depthshade": False}
        discs = axes.scatter(*_placed(means, space), c=np.clip(means, 0, 1), **look)
        axes.computed_zorder = False  # which goes by depth: the points would hide the discs
        discs.set_zorder(_DISCS)
        discs.set_path_effects([withStroke(linewidth=4, foreground="white")])  # on dark points too
    for name, text in zip("xyz", _AXES[space], strict=True):
        getattr(axes, f"set_{name}label")(text, fontsize=SMALL, color=INK)
    return axes


def palette(found: Any, *, ax: Axes | None = None) -> Axes:
    """The colours of segments as a bar, each as wide as its share, with their codes.

    Args:
        found: a `Segmentation`; or a mixture of red, green and blue in [0, 1], or a fit, of which
            the weights are the shares.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: a batch of fits, or a mixture of other features.

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture(np.ones(1), np.ones((1, 3)), np.eye(3)[None])
        >>> palette(mixture).texts[0].get_text()
        '#ffffff'
    """
    if hasattr(found, "table"):
        table = found.table()
        some = table["pixels"] > 0
        shares, codes = table["share"][some], table["hex"][some].tolist()
    else:
        shares, means = _colour_means(found)
        codes = [to_hex(np.clip(mean, 0, 1)) for mean in means]
    axes: Axes = new_axes(ax, 8.0, 1.6)
    left = 0.0
    for share, code in zip(shares.tolist(), codes, strict=True):
        axes.barh(0, share, left=left, color=code, height=1.0)
        axes.text(left + share / 2, -0.56, code, ha="center", va="top", rotation=45, fontsize=8)
        left += share
    axes.set(xlim=(0, max(left, 1e-9)), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def certainty(found: Any, *, ax: Axes | None = None) -> Axes:
    """How sure the label of each pixel is, from dark, 0, to bright, 1.

    Args:
        found: a `Segmentation`, or its certainty [H, W].
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: an array of another shape.

    Example:
        >>> certainty(np.ones((2, 3))).images[0].get_array().shape
        (2, 3)
    """
    values = np.asarray(getattr(found, "certainty", found))
    if values.ndim != 2:
        raise ValueError(f"expected certainties [H, W], got shape {values.shape}")
    axes: Axes = new_axes(ax, 6.8, 5.0)
    shown = axes.imshow(values, cmap="magma", vmin=0, vmax=1)
    axes.get_figure(root=True).colorbar(shown, ax=axes, label="certainty")  # type: ignore[union-attr]
    axes.set(xticks=[], yticks=[])
    return axes


def _unit(pixels: npt.ArrayLike) -> NdArray:
    array = np.asarray(pixels)
    if array.ndim < 1 or array.shape[-1] != 3:
        raise ValueError(f"pixels: expected colours [..., 3], got shape {array.shape}")
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:  # of either byte order
        return array / float(np.iinfo(array.dtype).max)
    if array.dtype.kind != "f":
        raise ValueError(
            f"pixels: expected uint8, uint16 or floats in [0, 1], got {array.dtype}; "
            "of 8 bit colours pass image.astype(np.uint8)"
        )
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise ValueError(
            f"pixels: expected floats in [0, 1], got {low:g} to {high:g}; "
            "of 8 bit colours pass image.astype(np.uint8)"
        )
    return np.clip(array.astype(np.float64), 0, 1)


def _placed(unit: NdArray, space: str) -> NdArray:
    """Coordinates [3, N] of colours [N, 3]."""
    if space == "rgb":
        return unit.T
    from skimage.color import rgb2lab

    lightness, a, b = np.asarray(rgb2lab(np.clip(unit, 0, 1))).T
    return np.stack([a, b, lightness])


def _colour_means(fit: Any) -> tuple[NdArray, NdArray]:
    mixture = single(fit)
    if mixture.n_features != 3:
        raise ValueError(
            f"expected a mixture of red, green and blue, got {mixture.n_features} features"
        )
    return np.asarray(mixture.weights, np.float64), np.asarray(mixture.means, np.float64)
