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

from jgmm import _checks, _frame
from jgmm._fold import Blocks, block_size
from jgmm._parallel import Data, over_blocks
from jgmm._struct import struct
from jgmm.clustering import restart_keys
from jgmm.covariance import FAMILIES
from jgmm.criteria import aic_of, bic_of, entropy_and_likelihood, n_parameters
from jgmm.fitting import best_lane, history_capacity, no_steps, prepare
from jgmm.lanes import Used, fit_lanes, in_turn, pool_size, run_lanes
from jgmm.loop import FitResult
from jgmm.mixture import Mixture
from jgmm.starts import STARTS

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


@partial(jax.jit, static_argnames=("size", "mesh"))
def _judge(data: Data, fits: FitResult, size: int, mesh: Mesh | None) -> tuple[Array, Array, Array]:
    """BIC, AIC and ICL of fits with leading axes [S, R]."""

    def lanes(blocks: Blocks, fits: FitResult) -> tuple[Array, Array, Array]:
        frame = _frame.measure(blocks, isotropic=fits.mixture.covariances.shape[-1] == 1)
        inside = _frame.enter(blocks, frame)

        def lane(fit: FitResult) -> tuple[Array, Array, Array]:
            moved = _frame.mixture_enter(fit.mixture, frame)
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
    data, mesh, settings = prepare(pixels, weights, reg_covar, tol, max_iter, spread=False)
    most = max(counts)
    used = np.arange(most)[None, :] < np.array(counts)[:, None]
    keys = restart_keys(key, n_restarts)
    side_by_side = 1 if in_turn(data) else len(counts) * n_restarts
    n, d = math.prod(np.shape(pixels)[:-1]), data.pixels.shape[1]
    size = block_size(most * side_by_side, d)
    fit_some = partial(
        fit_lanes,
        data,
        covariance_type=covariance_type,
        size=size,
        capacity=history_capacity(max_iter),
        accelerate=accelerate,
        mesh=mesh,
    )

    def lanes(used: Used, keys: Array) -> FitResult:
        pool = pool_size(n, int(used.sum(axis=1).max()), d, covariance_type)
        if not pool:
            return fit_some(used, keys, None, settings, start=init)
        short = fit_some(used, keys, None, no_steps(settings), start=init, pool=pool)
        return fit_some(used, keys, short.mixture, settings, start="mixture")

    def report(s: int, r: int, seconds: float) -> None:
        if on_fit is not None:
            on_fit(counts[s], r, seconds)

    fits = run_lanes(lanes, used, keys, data, mesh, report)
    fits = dataclasses.replace(fits, history=fits.history[..., : max_iter + 1])
    bic, aic, icl = _judge(data, fits, size=size, mesh=mesh)
    return SweepResult(
        fits=fits,
        n_components=jnp.array(counts, jnp.int32),
        bic=bic,
        aic=aic,
        icl=icl,
    )
