"""Labels that see their neighbours: mean field under a wide Gaussian kernel, after a fit.

A mixture labels each pixel by its own colour, and textures dissolve into salt and pepper. Here
the mixture stays as it is, and the labels z of all pixels are inferred together, under

    log p(z | x) = Σᵢ [λ log N(xᵢ | zᵢ) + log π(zᵢ)] + β/2 Σᵢⱼ B(i, j) [zᵢ = zⱼ] + constant

with a Gaussian kernel B whose sum over j is 1. That is the spatial part of a dense conditional
random field (Krähenbühl and Koltun 2011), and mean field infers it by iterating

    q ← softmax(λ log N(x) + log π + β B∗q).

λ < 1 because neighbouring pixels repeat each other: they are not independent evidence.

The message B∗q is wide and smooth, so that it is known by its values on a coarse grid: B = U Uᵀ,
where U spreads the points of the grid by a Gaussian of width σ/√2, σ/√2 apart. A sweep folds over
rows of pixels, and keeps of q no more than Uᵀq: no array of H times W times K values exists.

Rows run along the shorter side, and a block of them has U at the points near by only: of an image
that is a thousand times as long as wide, all pixels times all points would be too many.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.products import dot
from jgmm.data.programs import program
from jgmm.data.samples import Block
from jgmm.mixture.components import few_sizes
from jgmm.mixture.mixture import Mixture, conform, log_weights
from jgmm.mixture.posterior import centered, log_joint

NdArray = npt.NDArray[Any]
_ROWS = 8  # of pixels, in a block
_REACH = 6  # of U in points of the grid, which are a standard deviation apart or more
_NEAR = 24  # points at least that a block of rows reaches, rounded up
_Rows = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # pixels, mask, U and its place


@struct
class _Problem:
    """Pixels in blocks of rows, and the matrix U of rows and columns. [h, w] is the grid."""

    pixels: jax.Array  # [B, D, R * W]
    mask: jax.Array  # [B, R, W], 1 for pixels that take part
    rows: jax.Array  # [B, R, m], of the points that are near
    starts: jax.Array  # [B], the first of those
    columns: jax.Array  # [W, w]
    grid: jax.Array  # [h, w] of zeros


@struct
class _Settings:
    """What is traced: changing it does not compile again."""

    unary: jax.Array  # [], λ
    coupling: jax.Array  # [], β
    n_sweeps: jax.Array  # []


def smooth(
    mixture: Mixture,
    features: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    width: float = 0.02,
    unary: float = 0.4,
    coupling: float = 5.0,
    n_sweeps: int = 6,
) -> tuple[NdArray, NdArray]:
    """Label pixels by a mixture and by their neighbours.

    Args:
        mixture: K components in D dimensions.
        features: [H, W, D].
        mask: [H, W], True for pixels that take part; None for all.
        width: σ of the kernel, relative to √(H·W).
        unary: λ, how much a pixel's own features count.
        coupling: β, how much its neighbours do; 0 for none.
        n_sweeps: of mean field.

    Returns:
        Labels [H, W] int32, -1 where the mask is False, and their probabilities [H, W].

    Example:
        >>> import numpy as np, jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[0.0], [1.0]]), jnp.ones((2, 1)))
        >>> image = np.zeros((20, 20, 1), np.float32)
        >>> image[:, 10:] = 1
        >>> image[3, 4] = 1  # a speck
        >>> labels, _ = smooth(mixture, image, width=0.1, unary=1.0)
        >>> labels.sum(0).tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20]
    """
    mixture, values = conform(mixture, features)
    if values.ndim != 3:
        raise ValueError(f"features: expected shape [H, W, D], got {values.shape}")
    height, columns = values.shape[:2]
    inside = as_mask(mask, (height, columns))
    mixture, values = centered(mixture, values)
    turned = columns > height
    if turned:
        values, inside, height, columns = values.swapaxes(0, 1), inside.T, columns, height
    problem = _problem(np.asarray(values), inside, width * math.sqrt(height * columns))
    settings = _Settings(
        unary=_checks.as_array(unary, values.dtype),
        coupling=_checks.as_array(coupling, values.dtype),
        n_sweeps=_checks.as_array(n_sweeps, jnp.int32),
    )
    labels, sure = jax.device_get(_mean_field(few_sizes(mixture), problem, settings))
    labels = labels.reshape(-1, labels.shape[-1])[:height, :columns]
    sure = sure.reshape(-1, sure.shape[-1])[:height, :columns]
    labels, sure = np.where(inside, labels, -1), np.where(inside, sure, 0)
    return (labels.T, sure.T) if turned else (labels, sure)


@program()
def _mean_field(
    mixture: Mixture, problem: _Problem, settings: _Settings
) -> tuple[jax.Array, jax.Array]:
    """Labels and their probabilities, [B, R, W]."""
    kernel = mixture.kernel()
    prior = log_weights(mixture.weights)
    k = mixture.n_components
    h, w = problem.grid.shape
    m = problem.rows.shape[-1]

    def spread(grid: jax.Array, block: _Rows) -> jax.Array:
        """U of values on the grid [h, K, w], at a block's rows of pixels: [K, R, W]."""
        _, _, rows, start = block
        near = dot(rows, lax.dynamic_slice_in_dim(grid, start, m).reshape(m, -1))
        near = near.reshape(len(rows), -1, w).swapaxes(0, 1)
        return dot(near, problem.columns.T)

    def gather(grid: jax.Array, q: jax.Array, block: _Rows) -> jax.Array:
        """Uᵀ of values [K, R, W] at a block's rows, added to the grid [h, K, w]."""
        _, _, rows, start = block
        near = dot(q, problem.columns)
        flat = near.swapaxes(0, 1).reshape(len(rows), -1)
        more = dot(rows.T, flat).reshape(m, -1, w)
        before = lax.dynamic_slice_in_dim(grid, start, m)
        return lax.dynamic_update_slice_in_dim(grid, before + more, start, axis=0)

    def joint(grid: jax.Array, ones: jax.Array, block: _Rows) -> jax.Array:
        """The exponents of q [K, R, W] at a block, given Uᵀq on the grid."""
        pixels, mask, _, _ = block
        whitened = kernel.evaluate(Block(features=pixels, weights=mask.reshape(-1)))
        logs = log_joint(mixture, whitened).reshape(k, *mask.shape)
        used = prior[:, None, None]
        known = jnp.where(jnp.isfinite(used), used, 0)
        # Finite, so that λ = 0 makes nothing of it; what is unused stays so.
        evidence = settings.unary * jnp.maximum(logs - known, -1e30)
        message = spread(grid, block) / jnp.maximum(spread(ones, block), 1e-6)
        return jnp.where(
            jnp.isfinite(used), evidence + known + settings.coupling * message, -jnp.inf
        )

    blocks = (problem.pixels, problem.mask, problem.rows, problem.starts)
    zeros = jnp.broadcast_to(problem.grid[:, None], (h, k, w))
    ones, _ = lax.scan(
        lambda sum, b: (gather(sum, b[1][None], b), None), problem.grid[:, None], blocks
    )

    def sweep(_: jax.Array, grid: jax.Array) -> jax.Array:
        def visit(sum: jax.Array, block: _Rows) -> tuple[jax.Array, None]:
            q = jax.nn.softmax(joint(grid, ones, block), axis=0) * block[1]
            return gather(sum, q, block), None

        return lax.scan(visit, zeros, blocks)[0]

    grid = lax.fori_loop(0, settings.n_sweeps, sweep, zeros)

    def decide(block: _Rows) -> tuple[jax.Array, jax.Array]:
        q = jax.nn.softmax(joint(grid, ones, block), axis=0)
        return jnp.argmax(q, axis=0).astype(jnp.int32), jnp.max(q, axis=0)

    return lax.map(decide, blocks)


def _problem(values: NdArray, inside: NdArray, sigma: float) -> _Problem:
    """Pixels [H, W, D], padded to one of few sizes, so that few programs are compiled."""
    height, width, d = values.shape
    pixels, mask = padded(values, inside)
    tall, wide = mask.shape
    n = tall // _ROWS
    columns = _at_points(width, wide, sigma)
    rows = _at_points(height, tall, sigma)
    return _Problem(
        pixels=_checks.as_array(pixels.reshape(n, _ROWS * wide, d).swapaxes(1, 2)),
        mask=_checks.as_array(mask.reshape(n, _ROWS, wide)),
        rows=_checks.as_array(rows.values.astype(values.dtype)),
        starts=_checks.as_array(rows.starts),
        columns=_checks.as_array(columns.dense().astype(values.dtype)),
        grid=jnp.zeros((rows.points, columns.points), values.dtype),
    )


def as_mask(mask: ArrayLike | None, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels of an image [H, W] take part: those that are True; all, if it is None."""
    inside = np.ones(shape, np.bool_) if mask is None else np.asarray(mask, np.bool_)
    if inside.shape != shape:
        raise ValueError(f"mask: expected shape {shape}, got {inside.shape}")
    return inside


def padded(values: NdArray, inside: NdArray) -> tuple[NdArray, NdArray]:
    """Pixels [H, W, D] and 1 where they take part, both padded by zeros to one of few sizes."""
    height, width, d = values.shape
    size = _padded_size(height), _padded_size(width)
    pixels, part = np.zeros((*size, d), values.dtype), np.zeros(size, values.dtype)
    pixels[:height, :width], part[:height, :width] = values, inside
    return pixels, part


def _padded_size(n: int) -> int:
    """``n`` rounded up, by an eighth at most, to a multiple of the rows in a block."""
    step = max(_ROWS, (1 << max(n - 1, 1).bit_length()) // 16)
    return -(-n // step) * step


class _AtPoints(NamedTuple):
    """U along one axis: how near each pixel is to each point of the grid."""

    values: NdArray  # [B, R, m], of m points that are near a block of pixels
    starts: NdArray  # [B], the first of them
    points: int

    def dense(self) -> NdArray:
        """[pixels, points]."""
        matrix = np.zeros((*self.values.shape[:2], self.points))
        for block, start, values in zip(matrix, self.starts, self.values, strict=True):
            block[:, start : start + values.shape[1]] = values
        return matrix.reshape(-1, self.points)


def _at_points(n: int, size: int, sigma: float) -> _AtPoints:
    """U along an axis of n pixels, padded with zeros to ``size``."""
    narrow = sigma / math.sqrt(2)
    step = max(narrow, 1.0)
    count = math.ceil((n - 1) / step) + 5  # two beyond either end
    points = -(-count // 8) * 8
    first = (n - 1) / 2 - step * (count - 1) / 2
    pixels = np.arange(size).reshape(-1, _ROWS)
    m = min(_NEAR, points)
    starts = np.floor((pixels[:, 0] - first) / step).astype(np.int32) - _REACH
    starts = np.clip(starts, 0, points - m)
    places = first + step * (starts[:, None] + np.arange(m))  # [B, m]
    distance = (pixels[:, :, None] - places[:, None]) / max(narrow, 0.3)
    values = np.where(pixels[:, :, None] < n, np.exp(-0.5 * distance**2), 0)
    return _AtPoints(values, starts, points)
