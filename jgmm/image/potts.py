"""A mixture fitted together with a Potts prior on its labels: for images that are mostly noise.

Where noise is as large as the differences between the classes, a mixture that takes each pixel
for itself mislabels a large part of them, and no smoothing afterwards mends its components. Here
EM runs with the responsibilities q of neighbouring pixels tied. It maximises, per pixel,

    1/N [ Σᵢₖ qᵢₖ (log 1/K + log N(xᵢ | k) - log qᵢₖ) - β Σ over pairs i, j  wᵢⱼ (1 - qᵢ·qⱼ) ]

over the Gaussians and q: the bound of the log-likelihood that EM climbs, less β for every pair of
unlike neighbours. Each pixel has eight; w is 1 over, under and beside it, and 1/√2 diagonally,
where they are farther, so that a border costs much the same whichever way it runs. That is
neighbourhood EM (Ambroise, Dang and Govaert 1997), mean-field EM for a hidden Potts field (Zhang,
Brady and Smith 2001; Celeux, Forbes and Peyrard 2003). With q updated on one of four interleaved
lattices at a time, on which no two pixels are neighbours, no step lowers the objective; its values
are the history of the fit.

No class is preferred beforehand. Were log πₖ in place of log 1/K, every pixel of a region would
count the shares of the classes anew, although they all speak for one label: rare classes lose
theirs, which makes them rarer. The weights of the mixture that is returned are the shares of q.

"auto" takes the β under which neighbours foretell a pixel that they have not seen: every ninth
pixel is left out of q and of the mixture, and β climbs Σ log Σₖ p(k | neighbours) N(x | k) over
those. Pseudo-likelihood (Besag 1975) asks instead how well neighbours foretell labels, which were
inferred with the neighbours' help: what it finds smooths too much. The same sum decides between
starts; the objective cannot, because it is higher where a class was lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import Status
from jgmm._struct import struct
from jgmm.data import frame as _frame
from jgmm.data.fold import Blocks
from jgmm.families.covariance import FAMILIES
from jgmm.fitting.fitting import fit
from jgmm.image.field import NoisyImage, e_step, foretelling, foretold, m_step, objective
from jgmm.image.spatial import padded_size
from jgmm.mixture.density import responsibilities
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import FitResult

Array = npt.NDArray[Any]

_ROUNDS, _STEPS = 9, 5  # with hidden pixels: one for each ninth of them, and steps of EM in each
_COUNTED = 3  # the last rounds, whose hidden pixels decide between starts
_AVERAGES = 3, 5, 9  # pixels on a side


@struct
class PottsResult:
    """A mixture and the labels that were inferred with it."""

    fit: FitResult  # its log_likelihood and history are the objective's
    labels: Array  # [H, W] int32, -1 where left out
    certainty: Array  # [H, W], largest of q; 0 where left out
    beta: float  # given or estimated


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
        beta: β >= 0, nats for each pair of unlike neighbours; 0 is a plain mixture of equal
            weights; "auto" estimates it before EM proper, from how well neighbours foretell
            pixels that were left out.
        covariance_type: see `jgmm.fit`.
        max_iter: steps at most.
        tol: stop when a step gains less, in nats per pixel.
        reg_covar: see `jgmm.fit`.
        **start: of each of three starts, which are those of `jgmm.fit` on averages over 3, 5 and 9
            pixels: ``key``, ``init``, ``n_restarts``. An init that is a mixture is the only one.

    Returns:
        The fit, its weights the shares of the labels, and the labels.

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
    part = inside.astype(values.dtype)
    tall, wide = padded_size(height), padded_size(width)
    pixels = np.zeros((tall, wide, d), values.dtype)
    pixels[:height, :width] = values
    weights = np.zeros((tall, wide), values.dtype)
    weights[:height, :width] = part
    image = NoisyImage(samples=jnp.asarray(pixels.swapaxes(1, 2)), mask=jnp.asarray(weights))
    common: dict[str, Any] = {"covariance_type": covariance_type, "reg_covar": reg_covar}
    rough, likely = [], []
    for first in _smoothed(np.asarray(values), inside, start.get("init")):
        rough.append(fit(first, k, weights=part, max_iter=0, **common, **start).mixture)
        q = np.zeros((k, tall, wide), values.dtype)
        found = np.asarray(responsibilities(rough[-1], first))
        q[:, :height, :width] = found.transpose(2, 0, 1) * part
        likely.append(q)
    result, q, used = _fit(
        image,
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *rough),
        jnp.asarray(np.stack(likely)),
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


def _smoothed(values: Array, inside: Array, init: Any) -> Iterator[jax.Array]:
    """What starts are made of: means over squares, of pixels that take part.

    Those tell classes apart where single pixels do not. Wide squares see classes that are rare,
    narrow ones classes that are thin. A mixture is a start by itself.
    """
    from scipy.ndimage import uniform_filter

    if isinstance(init, Mixture):
        yield jnp.asarray(values)
        return
    masked = np.where(inside[..., None], values, 0)
    for size in _AVERAGES:
        weight = uniform_filter(inside.astype(masked.dtype), size)[..., None]
        yield jnp.asarray(uniform_filter(masked, (size, size, 1)) / np.maximum(weight, 1e-3))


@partial(jax.jit, static_argnames=("max_iter", "covariance_type", "estimate"))
def _fit(
    image: NoisyImage,
    starts: Mixture,
    likely: jax.Array,
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
    step = partial(m_step, image, covariance_type=covariance_type, floor=floor)
    row, column = (jnp.arange(n, dtype=jnp.int32) % 3 for n in image.mask.shape)
    ninth = 3 * row[:, None] + column

    def begin(start: tuple[Mixture, jax.Array]) -> tuple[Mixture, jax.Array, jax.Array, jax.Array]:
        """EM from one start, other pixels hidden in each round, and how well they are foretold."""
        mixture = step(_frame.mixture_enter(start[0], frame), start[1])

        def round(i: jax.Array, state: Any) -> Any:
            mixture, q, beta, score = state
            hidden = ninth == i

            def turn(_: Any, state: tuple[Mixture, jax.Array]) -> tuple[Mixture, jax.Array]:
                mixture, q = state
                q = e_step(image, mixture, q, beta, hidden)
                return step(mixture, jnp.where(hidden, 0, q)), q

            mixture, q = lax.fori_loop(0, _STEPS, turn, (mixture, q))
            if estimate:
                beta = foretelling(image, mixture, q, beta, hidden)
            found = foretold(image, mixture, q, beta, hidden)
            return mixture, q, beta, score + jnp.where(i < _ROUNDS - _COUNTED, 0, found)

        nothing = jnp.zeros((), start[1].dtype)
        return lax.fori_loop(0, _ROUNDS, round, (mixture, start[1], beta, nothing))

    tried = lax.map(begin, (starts, likely))
    best = jnp.argmax(jnp.where(jnp.isfinite(tried[-1]), tried[-1], -jnp.inf))
    mixture, q, beta, _ = jax.tree.map(lambda leaf: leaf[best], tried)

    # Before each step the objective of where it starts from: of the mixture, and the best q.
    def climb(state: Any) -> Any:
        mixture, q, before, history, i, _ = state
        q = e_step(image, mixture, q, beta)
        value = objective(image, mixture, q, beta)
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
