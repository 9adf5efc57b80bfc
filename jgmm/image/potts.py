"""A mixture fitted together with a Potts prior on its labels: for images that are mostly noise.

Where noise is as large as the differences between the classes, a mixture that takes each pixel
for itself mislabels a large part of them, and no smoothing afterwards mends its components. Here
EM runs with the responsibilities q of neighbouring pixels tied. It maximises, per pixel,

    1/N [ Σᵢₖ qᵢₖ (log πₖ + log N(xᵢ | k) - log qᵢₖ) - β Σ over pairs of neighbours (1 - qᵢ·qⱼ) ]

over the mixture and q: the bound of the log-likelihood that EM climbs, less β for every pair of
unlike neighbours (each pixel has eight). That is neighbourhood EM (Ambroise, Dang and Govaert
1997), mean-field EM for a hidden Potts field (Zhang, Brady and Smith 2001; Celeux, Forbes and
Peyrard 2003). With q updated on one of four interleaved lattices at a time, on which no two pixels
are neighbours, no step lowers the objective; its values are the history of the fit.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from jgmm import _checks, _frame
from jgmm._fold import Blocks
from jgmm._status import Status
from jgmm._struct import struct
from jgmm.covariance import FAMILIES
from jgmm.density import responsibilities
from jgmm.em import maximisation, moments, statistics
from jgmm.fitting import fit
from jgmm.image.spatial import padded_size
from jgmm.loop import FitResult
from jgmm.mixture import Mixture, log_weights
from jgmm.whitened import log_joint, whiten, whitening

Array = npt.NDArray[Any]

_ROUNDS, _STEPS = 10, 5  # of estimating β: rounds, and steps of EM in each
_MOST = 3.0  # the largest β: at it neighbours agree all but always


@struct
class PottsResult:
    """A mixture and the labels that were inferred with it."""

    fit: FitResult  # its log_likelihood and history are the objective's
    labels: Array  # [H, W] int32, -1 where left out
    certainty: Array  # [H, W], largest of q; 0 where left out
    beta: float  # given or estimated


@struct
class _Image:
    """Rows of pixels in the frame of the fit."""

    samples: jax.Array  # [H, D, W]
    mask: jax.Array  # [H, W], 1 for pixels that take part


def fit_potts(
    features: ArrayLike,
    k: int,
    mask: ArrayLike | None = None,
    *,
    beta: float | str = "auto",
    covariance_type: str = "full",
    max_iter: int = 500,
    tol: float = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    **start: Any,
) -> PottsResult:
    """Fit a mixture of k Gaussians under a Potts prior on the labels.

    Args:
        features: [H, W, D].
        k: the number of components.
        mask: [H, W], True for pixels that take part; None for all.
        beta: β >= 0, nats for each pair of unlike neighbours; 0 is the plain mixture; "auto"
            estimates it by pseudo-likelihood (Besag 1975) before EM proper.
        covariance_type: see `jgmm.fit`.
        max_iter: steps at most.
        tol: stop when a step gains less, in nats per pixel.
        reg_covar: see `jgmm.fit`.
        **start: of the start, which is that of `jgmm.fit`: ``key``, ``init``, ``n_restarts``.

    Returns:
        The fit and the labels.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: shapes that do not fit, unknown names, values that are not finite.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((20, 20, 1))
        >>> image[:, 10:] = 1
        >>> noisy = image + np.random.default_rng(0).normal(0, 0.5, image.shape)
        >>> found = fit_potts(noisy, 2)
        >>> bool((found.labels[:, :10] != found.labels[:, 10:]).all())
        True
    """
    _checks.one_of("covariance_type", covariance_type, FAMILIES)
    max_iter = _checks.as_count("max_iter", max_iter, minimum=0)
    values = _checks.as_pixels(features)
    if values.ndim != 3:
        raise ValueError(f"features: expected shape [H, W, D], got {values.shape}")
    if beta != "auto" and not (isinstance(beta, float | int) and 0 <= beta < np.inf):
        raise ValueError(f"beta: expected 'auto' or a number of at least 0, got {beta!r}")
    height, width, d = values.shape
    inside = np.ones((height, width), np.bool_) if mask is None else np.asarray(mask, np.bool_)
    common: dict[str, Any] = {"covariance_type": covariance_type, "reg_covar": reg_covar}
    # Averages over 3 by 3 pixels tell the classes apart where single pixels do not; wider ones lose
    # classes that are thin.
    plain = isinstance(start.get("init"), Mixture)
    first = values if plain else jnp.asarray(_averages(np.asarray(values), inside))
    part = inside.astype(values.dtype)
    rough = fit(first, k, weights=part, max_iter=0, **common, **start)
    tall, wide = padded_size(height), padded_size(width)
    pixels = np.zeros((tall, wide, d), values.dtype)
    pixels[:height, :width] = values
    weights = np.zeros((tall, wide), values.dtype)
    weights[:height, :width] = part
    q = np.zeros((k, tall, wide), values.dtype)
    likely = np.asarray(responsibilities(rough.mixture, first))
    q[:, :height, :width] = likely.transpose(2, 0, 1) * part
    image = _Image(samples=jnp.asarray(pixels.swapaxes(1, 2)), mask=jnp.asarray(weights))
    result, q, used = _fit(
        image,
        rough.mixture,
        jnp.asarray(q),
        jnp.asarray(1.0 if beta == "auto" else beta, values.dtype),
        jnp.broadcast_to(jnp.asarray(reg_covar, values.dtype), (d,)),
        jnp.asarray(tol, values.dtype),
        max_iter=max_iter,
        covariance_type=covariance_type,
        estimate=beta == "auto",
    )
    labels, sure = np.argmax(q, axis=0), np.max(q, axis=0)
    return PottsResult(
        fit=result,
        labels=np.where(inside, labels[:height, :width], -1).astype(np.int32),
        certainty=np.where(inside, sure[:height, :width], 0),
        beta=float(used),
    )


def _averages(values: Array, inside: Array) -> Array:
    """Means over 3 by 3 pixels, of those that take part."""
    from scipy.ndimage import uniform_filter

    weight = uniform_filter(inside.astype(values.dtype), 3)
    masked = np.where(inside[..., None], values, 0)
    return uniform_filter(masked, (3, 3, 1)) / np.maximum(weight, 0.01)[..., None]


@partial(jax.jit, static_argnames=("max_iter", "covariance_type", "estimate"))
def _fit(
    image: _Image,
    mixture: Mixture,
    q: jax.Array,
    beta: jax.Array,
    floor: jax.Array,
    tol: jax.Array,
    max_iter: int,
    covariance_type: str,
    estimate: bool,
) -> tuple[FitResult, jax.Array, jax.Array]:
    blocks = Blocks(samples=image.samples, weights=image.mask, n=None, length=image.mask.size)
    frame = _frame.measure(blocks, isotropic=covariance_type == "spherical")
    image = dataclasses.replace(image, samples=_frame.enter(blocks, frame).samples)
    mixture = _frame.mixture_enter(mixture, frame)
    step = partial(_m_step, image, covariance_type=covariance_type, floor=floor)
    mixture = step(mixture, q)

    def turn(_: Any, state: tuple[Mixture, jax.Array], beta: jax.Array) -> Any:
        mixture, q = state
        q = _e_step(image, mixture, q, beta)
        return step(mixture, q), q

    if estimate:

        def round(_: Any, state: tuple[Mixture, jax.Array, jax.Array]) -> Any:
            mixture, q, beta = state
            mixture, q = lax.fori_loop(0, _STEPS, partial(turn, beta=beta), (mixture, q))
            return mixture, q, _pseudo_likelihood(image, mixture, q, beta)

        mixture, q, beta = lax.fori_loop(0, _ROUNDS, round, (mixture, q, beta))

    # Before each step the objective of where it starts from: of the mixture, and the best q.
    def climb(state: Any) -> Any:
        mixture, q, before, history, i, _ = state
        q = _e_step(image, mixture, q, beta)
        value = _objective(image, mixture, q, beta)
        status = jnp.where(value - before < tol, int(Status.CONVERGED), -1)
        status = jnp.where((status < 0) & (i == max_iter), int(Status.MAX_ITER), status)
        status = jnp.where(jnp.isfinite(value), status, int(Status.NONFINITE))
        following = step(mixture, q)
        mixture = jax.tree.map(lambda new, old: jnp.where(status < 0, new, old), following, mixture)
        return mixture, q, value, history.at[i].set(value), i + 1, status.astype(jnp.int32)

    history = jnp.full(max_iter + 1, jnp.nan, q.dtype)
    start = jnp.asarray(-jnp.inf, q.dtype)
    zero = jnp.zeros((), jnp.int32)
    state = (mixture, q, start, history, zero, zero - 1)
    mixture, q, value, history, i, status = lax.while_loop(lambda s: s[-1] < 0, climb, state)
    volume = jnp.sum(jnp.log(frame.scale))
    result = FitResult(
        mixture=_frame.mixture_leave(mixture, frame),
        log_likelihood=value - volume,
        history=history - volume,
        n_iter=i - 1,
        status=status,
    )
    return result, q, beta


def _logs(image: _Image, mixture: Mixture) -> jax.Array:
    """Logarithms of weight times density, [K, H, W]."""
    form = whitening(mixture)
    return lax.map(lambda x: log_joint(form, whiten(form, x)), image.samples).swapaxes(0, 1)


def _around(q: jax.Array) -> jax.Array:
    """The sum of q [K, H, W] over the eight neighbours of each pixel."""
    padded = jnp.pad(q, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] - q


def _e_step(image: _Image, mixture: Mixture, q: jax.Array, beta: jax.Array) -> jax.Array:
    logs = _logs(image, mixture)
    row = jnp.arange(q.shape[1], dtype=jnp.int32)[:, None] % 2
    column = jnp.arange(q.shape[2], dtype=jnp.int32)[None, :] % 2

    def update(lattice: jax.Array, q: jax.Array) -> jax.Array:
        new = jax.nn.softmax(logs + beta * _around(q), axis=0) * image.mask
        return jnp.where(2 * row + column == lattice, new, q)

    return lax.fori_loop(0, 4, update, q)


def _m_step(
    image: _Image, mixture: Mixture, q: jax.Array, covariance_type: str, floor: jax.Array
) -> Mixture:
    form = whitening(mixture)

    def visit(total: Any, row: Any) -> Any:
        samples, r = row
        added = moments(form, samples, whiten(form, samples), r)
        return (added if total is None else jax.tree.map(jnp.add, total, added)), None

    rows = (image.samples, q.swapaxes(0, 1))
    shapes = jax.eval_shape(visit, None, jax.tree.map(lambda leaf: leaf[0], rows))[0]
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = lax.scan(visit, zero, rows)
    return maximisation(mixture, statistics(form, total), covariance_type, floor)


def _objective(image: _Image, mixture: Mixture, q: jax.Array, beta: jax.Array) -> jax.Array:
    """See the head of this file."""
    n = jnp.sum(image.mask)
    logs = jnp.where(q > 0, _logs(image, mixture) - jnp.log(jnp.where(q > 0, q, 1)), 0)
    unlike = jnp.sum(image.mask * _around(image.mask[None])[0]) - jnp.sum(q * _around(q))
    return jnp.sum(jnp.sum(q * logs, axis=(0, 1))) / n - beta * unlike / (2 * n)


def _pseudo_likelihood(image: _Image, mixture: Mixture, q: jax.Array, beta: jax.Array) -> jax.Array:
    """The β under which the neighbours of each pixel foretell its label best: Newton's method."""
    around = _around(q)
    prior = log_weights(mixture.weights)[:, None, None]

    def newton(_: Any, beta: jax.Array) -> jax.Array:
        p = jax.nn.softmax(prior + beta * around, axis=0)
        expected = jnp.sum(p * around, axis=0)
        slope = jnp.sum(image.mask * (jnp.sum(q * around, axis=0) - expected))
        spread = jnp.sum(image.mask * jnp.sum(p * (around - expected) ** 2, axis=0))
        change = slope / jnp.maximum(spread, jnp.asarray(1e-3, q.dtype))
        return jnp.clip(beta + jnp.clip(change, -0.5, 0.5), 0, _MOST)

    return lax.fori_loop(0, 8, newton, beta)
