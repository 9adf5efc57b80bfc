"""`sweep`: many fits of the same pixels at once, over numbers of components and restarts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.clustering.k_means import restart_keys
from jgmm.data import frame as _frame
from jgmm.data.devices import Data, over_blocks
from jgmm.data.fold import Blocks, block_size, total_weight
from jgmm.em import incomplete as partial_data
from jgmm.em.prior import Prior, as_prior
from jgmm.families.covariance import FAMILIES
from jgmm.fitting.batch import fit_lanes, pool_size
from jgmm.fitting.dispatch import Used, in_turn, run_lanes
from jgmm.fitting.fitting import best_lane, history_capacity, prepare
from jgmm.fitting.starts import STARTS, as_labels
from jgmm.mixture.criteria import aic_of, bic_of, entropy_and_likelihood, n_parameters
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import FitResult

CRITERIA = ("bic", "aic", "icl")


@struct
class SweepResult:
    """The result of `sweep`: S numbers of components by R restarts.

    Mixtures are padded to the largest number of components with components of weight 0;
    indexing takes the padding off.
    """

    fits: FitResult  # leaves [S, R, ...]
    n_components: Array  # [S]
    bic: Array  # [S, R]
    aic: Array  # [S, R]
    icl: Array  # [S, R]

    def __getitem__(self, k: int) -> FitResult:
        """The fit of ``k`` components with the highest likelihood among the restarts."""
        ks = np.asarray(self.n_components).tolist()
        if k not in ks:
            raise KeyError(f"expected one of the numbers of components {ks}, got {k!r}")
        lanes = jax.tree.map(lambda leaf: leaf[ks.index(k)], _on_host(self.fits))
        length = self.fits.history.shape[-1]
        return _without_padding(best_lane(lanes, length - 1), k)

    def best(self, criterion: str = "bic") -> FitResult:
        """The fit with the least "bic", "aic" or "icl" of all."""
        _checks.one_of("criterion", criterion, CRITERIA)
        values = np.asarray(getattr(self, criterion))
        values = np.where(np.isfinite(values), values, np.inf)
        s, r = np.unravel_index(np.argmin(values), values.shape)
        lane: FitResult = jax.tree.map(lambda leaf: leaf[s, r], _on_host(self.fits))
        return _without_padding(lane, int(self.n_components[s]))


def _on_host(fits: FitResult) -> FitResult:
    """Fits as NumPy arrays, which nothing is compiled for; tracers as they are."""
    return jax.device_get(fits) if _checks.is_concrete(fits.log_likelihood) else fits


def _without_padding(result: FitResult, k: int) -> FitResult:
    result = _on_host(result)
    mixture = result.mixture
    cut = dataclasses.replace(
        result,
        mixture=Mixture(
            weights=mixture.weights[:k],
            means=mixture.means[:k],
            covariances=mixture.covariances[:k],  # the one matrix of a tied family stays
        ),
    )
    return jax.tree.map(jnp.asarray, cut)


@partial(jax.jit, static_argnames=("size", "mesh", "known"))
def _judge(
    data: Data, fits: FitResult, size: int, mesh: Mesh | None, known: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """BIC, AIC and ICL of fits with leading axes [S, R]; ``known`` as in `fit_lanes`."""
    given = {"missing": "missing" in known, "labelled": "labels" in known}

    def lanes(raw: Blocks, fits: FitResult) -> tuple[Array, Array, Array]:
        d = fits.mixture.means.shape[-1]
        blocks = dataclasses.replace(raw, samples=raw.samples[:, :d])
        isotropic = fits.mixture.covariances.shape[-1] == 1
        frame = _frame.measure(blocks, isotropic=isotropic, missing=given["missing"])
        inside = _frame.enter(blocks, frame)
        rows = jnp.concatenate([inside.samples, raw.samples[:, d:]], axis=1)
        inside = dataclasses.replace(inside, samples=rows)

        def lane(fit: FitResult) -> tuple[Array, Array, Array]:
            moved = _frame.mixture_enter(fit.mixture, frame)
            if known:
                entropy = partial_data.entropy(moved, inside, **given)
                total = total_weight(inside)
            else:
                entropy, _, total = entropy_and_likelihood(moved, inside)
            log_likelihood = fit.log_likelihood * total
            parameters = n_parameters(fit.mixture)
            value = bic_of(log_likelihood, parameters, total)
            return value, aic_of(log_likelihood, parameters, total), value + 2 * entropy

        return jax.vmap(jax.vmap(lane))(fits)

    return over_blocks(lanes, data, size, mesh, fits)


def sweep(
    pixels: ArrayLike,
    ks: Sequence[int],
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    init: str = "kmeans",
    covariance_type: str = "full",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
    short_runs: bool = True,
    on_fit: Callable[[int, int, float], None] | None = None,
) -> SweepResult:
    """Fit mixtures of several numbers of components, each from several starts.

    One compiled program serves all of them, by padding to the largest k with components of
    weight 0. Under a trace and on accelerators they run side by side, as lanes of a vmap.

    Every fit is what `fit` gives for that k and key: restart r of R takes the key
    ``jax.random.split(key, R)[r]``, or ``key`` itself if R is 1.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        ks: the S different numbers of components.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: "kmeans", "k-means++", "random" or "random_from_data"; see `fit`.
        covariance_type: "full", "tied", "diag" or "spherical".
        n_restarts: R, starts for each k.
        max_iter: steps at most.
        tol: see `fit`.
        reg_covar: see `fit`.
        accelerate: see `fit`.
        prior: see `fit`; "weak" is another for each k.
        missing: see `fit`.
        labels: see `fit`; they have to be below the least of the ks.
        short_runs: see `fit`.
        on_fit: called from the host after each fit, in any order, with k, the restart and the
            seconds it took, compilation included; where fits run side by side, after all of them.

    Returns:
        All fits and their criteria; ``result[k]`` is the best fit of k components and
        ``result.best()`` the one that BIC chooses.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a k < 1, no or repeated ks, an unknown name, shapes that do not fit, values
            that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 1))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.sweep(pixels, [1, 2, 3])
        >>> result.best().mixture.n_components
        2
    """
    counts = [_checks.as_count("ks", k) for k in ks]
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(f"ks: expected different numbers of components, got {list(ks)}")
    n_restarts = _checks.as_count("n_restarts", n_restarts)
    max_iter = _checks.as_count("max_iter", max_iter, minimum=0)
    _checks.one_of("covariance_type", covariance_type, FAMILIES)
    _checks.one_of("init", init, STARTS)
    _checks.one_of("missing", missing, ("error", "nan"))
    gaps = missing == "nan"
    array = _checks.as_pixels(pixels, missing=gaps)
    n, d = math.prod(array.shape[:-1]), array.shape[-1]
    side = []
    if labels is not None:
        side = [as_labels("labels", labels, min(counts), array.shape).astype(array.dtype)[:, None]]
    known = ("missing",) * gaps + ("labels",) * (labels is not None)
    priors = {k: as_prior(prior, array, k, weights, missing) for k in counts}
    data, mesh, settings = prepare(
        array, weights, reg_covar, tol, max_iter, spread=False, side=side
    )
    del array  # of large data one copy less
    most = max(counts)
    used = np.arange(most)[None, :] < np.array(counts)[:, None]
    keys = restart_keys(key, n_restarts)
    side_by_side = 1 if in_turn(data) else len(counts) * n_restarts
    size = block_size(most * side_by_side * (d + 1 if gaps else 1), d)
    fit_any = partial(
        fit_lanes,
        data,
        covariance_type=covariance_type,
        size=size,
        capacity=history_capacity(max_iter),
        accelerate=accelerate,
        mesh=mesh,
        known=known,
    )

    def lanes(used: Used, keys: Array) -> FitResult:
        if isinstance(prior, str) and len(used) > 1:  # for each k it is another
            rows = [lanes(used[s, None], keys) for s in range(len(used))]
            return jax.tree.map(lambda *leaf: jnp.concatenate(leaf), *rows)
        k = int(used.sum(axis=1).max())
        fit_some = partial(fit_any, prior=priors[k])
        brief = short_runs and labels is None
        pool = pool_size(n, k, d, covariance_type) if brief else 0
        if not pool:
            return fit_some(used, keys, None, settings, start=init)
        short = fit_some(used, keys, None, settings, start=init, pool=pool)
        return fit_some(used, keys, short.mixture, settings, start="mixture")

    def report(s: int, r: int, seconds: float) -> None:
        if on_fit is not None:
            on_fit(counts[s], r, seconds)

    fits = run_lanes(lanes, used, keys, data, mesh, report)
    fits = dataclasses.replace(fits, history=fits.history[..., : max_iter + 1])
    bic, aic, icl = _judge(data, fits, size=size, mesh=mesh, known=known)
    return SweepResult(
        fits=fits,
        n_components=jnp.array(counts, jnp.int32),
        bic=bic,
        aic=aic,
        icl=icl,
    )
