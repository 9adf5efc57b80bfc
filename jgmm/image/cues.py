"""How pixels of parts are distributed: over the components of a mixture, and over textures.

Two regions of one mean colour may be unlike, as a wall and foliage, and two of different means may
be one, as the halves of a striped shirt. So `jgmm.image.merging` asks, beside colours, over what
their pixels are distributed. Each cue is a table [P, B] of that for P parts: sums over pixels, of
shares that add up to 1 for each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.image.samples import Samples
from jgmm.mixture.components import few_sizes
from jgmm.mixture.density import evaluate
from jgmm.mixture.mixture import Mixture

NdArray = npt.NDArray[Any]
_PIXELS = 1 << 16  # at once, of so many their posteriors are held
_BINS, _MOST = 12, 4.0  # of the logarithm of 1 and a deviation, in units of colour


def posterior_sums(mixture: Mixture, samples: Samples, parts: NdArray) -> NdArray:
    """The posterior probabilities of each component, summed over the pixels of each part [P, K].

    Args:
        mixture: K components.
        samples: of an image [H, W].
        parts: [H, W], from 0 on, -1 where left out.
    """
    k = mixture.n_components
    with jax.enable_x64(mixture.means.dtype == np.float64):
        mixture = few_sizes(mixture)
    flat = parts[samples.mask]
    of_pixel = np.arange(len(flat)) if samples.index is None else samples.index
    sums = np.zeros((int(flat.max(initial=-1)) + 1, k))
    length = min(_PIXELS, len(flat))  # all blocks have one, for which a program is compiled
    for start in range(0, len(flat), _PIXELS):
        some = flat[start : start + length]
        rows = np.resize(of_pixel[start : start + length], length)
        with jax.enable_x64(mixture.means.dtype == np.float64):
            (found,) = evaluate(mixture, samples.features[rows], "responsibilities")
        inside = some >= 0
        present, where = np.unique(some[inside], return_inverse=True)
        # What is not finite is known of no component.
        known = np.nan_to_num(np.asarray(found)[: len(some), :k][inside])
        columns = [np.bincount(where, column, minlength=len(present)) for column in known.T]
        sums[present] += np.stack(columns, axis=-1)
    return sums


def deviation_histograms(deviations: Sequence[NdArray], parts: NdArray) -> NdArray:
    """How many pixels of each part have which local deviations [P, S·B], of S scales, 1/S each.

    Args:
        deviations: [H, W] of each scale; see `jgmm.image.texture.local_deviation`.
        parts: [H, W], from 0 on, -1 where left out.

    Example:
        >>> deviation_histograms([np.array([[0.0, 0.1, 99.0]])], np.array([[0, 0, 1]])).tolist()[1]
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    inside = parts >= 0
    flat = parts[inside].astype(np.int64) * _BINS
    n = int(parts.max()) + 1
    tables = []
    for values in deviations:
        level = np.log1p(np.maximum(values[inside], 0)) * (_BINS / _MOST)
        cells = flat + np.minimum(level, _BINS - 1).astype(np.int64)
        tables.append(np.bincount(cells, minlength=n * _BINS).reshape(n, _BINS))
    return np.concatenate(tables, axis=1) / len(deviations)
