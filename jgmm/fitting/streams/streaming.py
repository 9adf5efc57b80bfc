"""`fit_stream`: the fit of data that need never be in memory together."""

from __future__ import annotations

import os
from typing import Any

from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._status import warn_of_status
from jgmm.data.interruptible import interruptible
from jgmm.em.prior import Prior
from jgmm.em.result import FitResult
from jgmm.families.family import Family
from jgmm.families.table import with_rank
from jgmm.fitting.choices import Choices
from jgmm.fitting.delivery import cannot_converge
from jgmm.fitting.progress import shown
from jgmm.fitting.streams import exact, stepwise
from jgmm.fitting.streams.wishes import read
from jgmm.mixture.mixture import FitLike, Mixture


def fit_stream(
    source: Any,
    k: int,
    *,
    key: Array | int | None = None,
    init: str | Mixture | FitLike | ArrayLike = "kmeans",
    covariance_type: str | Family = "full",
    rank: int | None = None,
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike | None = None,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    search: str = "best",
    order: str | None = None,
    passes: int | None = None,
    chunk: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 1,
    progress: bool = False,
) -> FitResult:
    """Fit a mixture of k Gaussians to data that come block by block, such as from a disk.

    The same likelihood, the same steps and to rounding the same result as `fit`, from the same
    start; but each step is a pass over the source, and memory holds a few blocks. A first pass
    measures the data and draws a sample of up to 131,072 of them, or 20 for each parameter, by
    weight (priority sampling; Duffield, Lund and Thorup 2007). `fit` finds the start there, with
    its search, so that a few passes over all are left to make.

    Integers of up to 24 bits together, such as three features of 8 bits, are counted by one pass,
    and so are others of up to 64 bits while there are at most 4,194,304 different samples, and no
    more than half of them new: the fit then goes over the different samples with their counts as
    weights, in memory, and nothing more is read.

    It works on the host, outside of traces. The next blocks are read by a thread while the last
    is worked on. How samples are cut into blocks changes nothing.

    Args:
        source: an array [N, D] or [..., D] of NumPy, a memmap of it, or of any library whose slices
            NumPy reads, such as Zarr, Dask or h5py; a pair of such an array and weights [N] or
            [...]; a triple of such an array, weights or None, and labels [N] or [...], the
            components of samples, -1 where unknown; a list of blocks; a function that returns an
            iterable of blocks, anew for each pass; or an object whose method ``blocks()`` does,
            such as `jgmm.image.stream_files` makes. Blocks are arrays [n, D] or [..., D], or such
            pairs or triples. Names of files are no source.
        k: the number of components.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        init: a name or means [K, D], from which a fit to the sample leads to the start; or a
            `Mixture` of k components or the result of a fit, which are the start.
        covariance_type: of any family that `fit` takes, such as "full" or "factor(3)".
        rank: see `fit`.
        distribution: see `fit`.
        degrees_of_freedom: see `fit`.
        n_restarts: fits to the sample, of which the best is the start.
        max_iter: steps at most, each a pass over the data; and of the fit to the sample. 0 returns
            the start itself.
        tol: see `fit`. None means 1e-6, or 1e-4 with ``passes``. What a sample cannot tell takes
            some passes: 1e-5 takes fewer.
        reg_covar: see `fit`.
        accelerate: extrapolate with SQUAREM.
        prior: a `Prior`, or "weak" for that of `weak_prior` for the sample.
        missing: "nan" takes NaN features, and what is masked, as missing: see `fit`.
        search: "best" or "none", of the fit to the sample.
        order: see `fit`.
        passes: so many passes of stepwise EM (Cappé and Moulines 2009), without a prior, take the
            place of full steps: an M-step after every chunk, from statistics of which older ones
            fade. Nothing is counted, and one more pass says how good the end is. For samples that
            come in no order, or nearly so, and in many chunks.
        chunk: how many samples are worked on at a time; None means about a million numbers. It
            sets the memory that is taken.
        checkpoint: a file that the run is kept in. The same call goes on from there, to the same
            result to the bit, when the one before was ended by whatever; after its end it gives
            the result again. A file of other data or other options is refused.
        every: steps between two writes of that file, which is written whole or not at all.
        progress: show a bar as `fit` does. It moves on after each pass over the source, and the
            time left is told from how the gains of the last steps shrink.

    Returns:
        The same as `fit`. History and n_iter are of the passes over the source alone. With
        ``passes`` the history has for each of these the mean objective of the chunks, each under
        the mixture that it met, and behind them that of the result; the status is CONVERGED where
        the last two differ by less than ``tol``, as mixtures that have settled do, else MAX_ITER.

    Raises:
        TypeError: an argument of the wrong type; a source that gives its blocks once.
        ValueError: k < 1, an unknown name, values that are not finite, blocks that do not fit each
            other, of which the message says which and where; a checkpoint of something else.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit_stream(lambda: (pixels[i : i + 100] for i in range(0, 1000, 100)), 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    if tol is None:
        tol = 1e-6 if passes is None else 1e-4
    choices = Choices(
        key=key,
        init=init,
        covariance_type=with_rank(covariance_type, rank),
        distribution=distribution,
        degrees_of_freedom=degrees_of_freedom,
        n_restarts=n_restarts,
        max_iter=max_iter,
        tol=tol,
        reg_covar=reg_covar,
        accelerate=accelerate,
        prior=prior,
        missing=missing,
        search=search,
        order=order,
    )
    wishes = read(source, _checks.as_count("k", k), choices, passes=passes, chunk=chunk)
    every = _checks.as_count("every", every)
    if passes is not None and checkpoint is not None:
        raise ValueError("checkpoint: expected None with passes, of which none is kept")
    fitted = exact.fitted if passes is None else stepwise.fitted
    with shown(progress):
        result = interruptible(lambda: fitted(wishes, checkpoint, every))
    on_purpose = cannot_converge({"max_iter": max_iter, "tol": tol})
    more = None if passes is None else "raise passes, or tol if it need not settle so far"
    warn_of_status(result.status, on_purpose=on_purpose, unsettled=more)
    return result
