"""Mixtures over their data, two features at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from jgmm.mixture import density as densities
from jgmm.mixture.mixture import FitLike, Mixture
from jgmm.mixture.operations import marginal
from jgmm.plot._canvas import MUTED, colors_for, dress, new_axes, single

NdArray = npt.NDArray[Any]
_POINTS = 5000  # so many are drawn at most


def components(
    fit: Mixture | FitLike,
    data: npt.ArrayLike | None = None,
    *,
    features: Sequence[int] = (0, 1),
    deviations: Sequence[float] = (1.0, 2.0),
    ax: Axes | None = None,
) -> Axes:
    """Each component as ellipses, which are its marginal of two features, over the data.

    Args:
        fit: a mixture of at least two features, or a fit.
        data: [N, D], drawn below; of more than 5,000 samples every so manieth.
        features: the two that are drawn.
        deviations: how many standard deviations from the mean each ellipse is; of Student-t
            components in units of their scale matrices, beyond which more lies.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: a batch of fits, features that are not two of those that there are, or data of
            another width.

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
        >>> len(components(mixture).patches)
        2
    """
    mixture, pair = _two(fit, features)
    points = None if data is None else _thin(_samples(data, mixture))[:, list(pair)]
    axes = _axes(ax)
    if points is not None:
        axes.scatter(points[:, 0], points[:, 1], s=4, color=MUTED, alpha=0.35, lw=0, zorder=1)
    weights, means, covariances = _moments(mixture, pair)
    for weight, mean, covariance, color in zip(
        weights, means, covariances, colors_for(len(weights)), strict=True
    ):
        if not weight:
            continue
        values, vectors = np.linalg.eigh(covariance)
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        small, large = np.sqrt(np.maximum(values, 0))
        for times in deviations:
            size = 2 * times * large, 2 * times * small
            axes.add_patch(Ellipse(mean, *size, angle=angle, fill=False, ec=color, lw=1.8))
        axes.plot(*mean, "o", color=color, ms=5, zorder=4)
    axes.autoscale_view()
    return _named(axes, pair)


def density(
    fit: Mixture | FitLike,
    *,
    features: Sequence[int] = (0, 1),
    ax: Axes | None = None,
    n_points: int = 120,
) -> Axes:
    """The log-density of two features as a picture.

    Args:
        fit: a mixture of at least two features, or a fit.
        features: the two that are drawn; the others are integrated out.
        ax: axes to draw into; by default those of a new figure.
        n_points: of the grid, along each axis.

    Returns:
        The axes.

    Raises:
        ValueError: a batch of fits, features that are not two of those that there are.

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
        >>> density(mixture, n_points=5).images[0].get_array().shape
        (5, 5)
    """
    mixture, pair = _two(fit, features)
    axes = _axes(ax)
    flat = marginal(mixture, pair)
    weights, means, covariances = _moments(mixture, pair)
    used = weights > 0
    reach = 3 * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))[used]
    low, high = (means[used] - reach).min(axis=0), (means[used] + reach).max(axis=0)
    edges = [np.linspace(a, b, n_points + 1) for a, b in zip(low, high, strict=True)]
    x, y = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    grid = grid.astype(jnp.result_type(float))  # JAX's, which is not always that of the means
    values = np.asarray(densities.log_prob(flat, grid)).reshape(n_points, n_points)
    extent = (low[0], high[0], low[1], high[1])
    least = values.max() - 12  # beyond e⁻¹² of the highest nothing is told apart
    shown = axes.imshow(values, origin="lower", extent=extent, aspect="auto", vmin=least)
    axes.get_figure(root=True).colorbar(shown, ax=axes, label="log-density")  # type: ignore[union-attr]
    return _named(axes, pair)


def classification(
    fit: Mixture | FitLike,
    data: npt.ArrayLike,
    *,
    features: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Samples in the colours of their components, the larger the less sure they are.

    As the plots of classification and of uncertainty of mclust (Scrucca et al. 2016) in one.

    Args:
        fit: a mixture of at least two features, or a fit.
        data: [N, D]; of more than 5,000 samples every so manieth is drawn.
        features: the two that are drawn; labels are by all.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: a batch of fits, features that are not two of those that there are, or data of
            another width.

    Example:
        >>> import jgmm
        >>> mixture = jgmm.Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
        >>> ax = classification(mixture, np.zeros((3, 2), np.float32))
        >>> len(ax.collections[0].get_offsets())
        3
    """
    mixture, pair = _two(fit, features)
    points = _thin(_samples(data, mixture))
    axes = _axes(ax)
    labels = np.asarray(densities.predict(mixture, points))
    unsure = 1 - np.asarray(densities.certainty(mixture, points), np.float64)
    colors = np.array(colors_for(mixture.n_components))[labels]
    x, y = points[:, list(pair)].T
    axes.scatter(x, y, c=colors.tolist(), s=8 + 60 * unsure, alpha=0.7, lw=0)
    return _named(axes, pair)


def _two(fit: Any, features: Sequence[int]) -> tuple[Mixture, tuple[int, int]]:
    mixture = single(fit)
    pair = tuple(features)
    if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= i < mixture.n_features for i in pair):
        raise ValueError(
            f"features: expected two of the {mixture.n_features} that there are, got {pair}"
        )
    return mixture, (int(pair[0]), int(pair[1]))


def _moments(mixture: Mixture, pair: tuple[int, int]) -> tuple[NdArray, NdArray, NdArray]:
    """Weights [K], means [K, 2] and covariances [K, 2, 2], on the host."""
    dense = mixture.family.dense(mixture.covariances, *mixture.means.shape)
    weights, means, covariances = jax.device_get((mixture.weights, mixture.means, dense))
    index = list(pair)
    return weights, means[:, index], np.asarray(covariances)[:, index][:, :, index]


def _samples(data: npt.ArrayLike, mixture: Mixture) -> NdArray:
    points = np.asarray(data)
    if points.ndim < 2 or points.shape[-1] != mixture.n_features:
        raise ValueError(
            f"data: expected [..., {mixture.n_features}], as the mixture has, got {points.shape}"
        )
    return points.reshape(-1, points.shape[-1])


def _thin(points: NdArray) -> NdArray:
    return points[:: max(1, -(-len(points) // _POINTS))]


def _axes(ax: Axes | None) -> Axes:
    axes: Axes = new_axes(ax, 6.0, 5.2)
    return axes


def _named(axes: Axes, pair: tuple[int, int]) -> Axes:
    dress(axes, f"feature {pair[0]}", f"feature {pair[1]}", None)
    return axes
