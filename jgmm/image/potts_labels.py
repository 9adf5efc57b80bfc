"""Labels under a Potts prior, of a mixture that is given: for the image of the fit, and for others.

Which labels mean field arrives at depends on where it starts. In heavy noise single pixels lead it
astray. So it starts from averages over squares, which the same mixture describes with covariances
that are smaller by as many times as there are pixels, for three sizes of squares; and the labels of
the highest objective are taken (see `jgmm.image.potts`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.image.field import AVERAGES, as_samples, average, e_step, objective
from jgmm.image.spatial import as_mask
from jgmm.mixture.density import responsibilities
from jgmm.mixture.mixture import Mixture, conform
from jgmm.mixture.posterior import centered

NdArray = npt.NDArray[Any]

_SWEEPS = 60  # of mean field at most
_CHANGE = 1e-4  # of any q at which it ends


def potts_labels(
    mixture: Mixture, features: ArrayLike, mask: ArrayLike | None = None, *, beta: float
) -> tuple[NdArray, NdArray]:
    """Label pixels by a mixture, neighbours tied by a Potts prior.

    Args:
        mixture: K components in D dimensions; its weights do not count, see `jgmm.image.potts`.
        features: [H, W, D].
        mask: [H, W], True for pixels that take part; None for all.
        beta: β >= 0, nats for each pair of unlike neighbours.

    Returns:
        Labels [H, W] int32, -1 where the mask is False, and their probabilities [H, W].

    Example:
        >>> import numpy as np, jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[0.0], [1.0]]), jnp.ones((2, 1)))
        >>> image = np.zeros((8, 8, 1), np.float32)
        >>> image[:, 4:] = 1
        >>> image[3, 1] = 1  # a speck
        >>> potts_labels(mixture, image, beta=1.0)[0].sum(0).tolist()
        [0, 0, 0, 0, 8, 8, 8, 8]
    """
    mixture, values = conform(mixture, features)
    mixture, values = centered(mixture, values)
    height, width, d = values.shape
    inside = as_mask(mask, (height, width))
    image = as_samples(np.asarray(values), inside)
    k = mixture.n_components
    starts = np.zeros((len(AVERAGES), k, *image.weights.shape), values.dtype)
    for start, size in zip(starts, AVERAGES, strict=True):
        narrow = jnp.full(d, 1 / size, values.dtype)
        even = amend(
            mixture,
            weights=jnp.full_like(mixture.weights, 1 / k),
            covariances=mixture.family.rescale(mixture.covariances, narrow),
        )
        q = np.asarray(responsibilities(even, average(np.asarray(values), inside, size)))
        start[:, :height, :width] = (q * inside[:, :, None]).transpose(2, 0, 1)
    found, sure = jax.device_get(
        _infer(image, mixture, _checks.as_array(starts), _checks.as_array(beta, values.dtype))
    )
    labels, sure = found[:height, :width], sure[:height, :width]
    return np.where(inside, labels, -1).astype(np.int32), np.where(inside, sure, 0)


@program()
def _infer(
    image: Samples, mixture: Mixture, starts: jax.Array, beta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Labels and their probabilities [H, W], from the best of the starts [S, K, H, W].

    The loop is not `jgmm.solvers.iterate`, for that judges by the objective, which at each sweep
    would cost the densities of all pixels again. It is the labels that have to settle here, those
    of every pixel, and the mean over all does not tell of the last few. So the rule asks for the
    largest change of q, and the objective is taken once, to choose among the starts.
    """

    def settle(q: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def unsettled(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return (state[0] < _SWEEPS) & (state[2] > _CHANGE)

        def sweep(
            state: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            n, q, _ = state
            new = e_step(image, mixture, q, beta)
            return n + 1, new, jnp.max(jnp.abs(new - q))

        begin = (jnp.asarray(0, jnp.int32), q, jnp.asarray(jnp.inf, q.dtype))
        _, q, _ = lax.while_loop(unsettled, sweep, begin)
        labels = jnp.argmax(q, axis=0).astype(jnp.int32)
        return labels, jnp.max(q, axis=0), objective(image, mixture, q, beta)

    labels, sure, value = lax.map(settle, starts)
    best = jnp.argmax(value)
    return labels[best], sure[best]
