"""`fit`: a start, EM until the likelihood stops rising, and the result in the data's units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks, _frame, starts
from jgmm import partial as partial_data
from jgmm import prior as priors
from jgmm._fold import Blocks, block_size, total_weight
from jgmm._parallel import Data, over_blocks, place
from jgmm._status import Status
from jgmm.clustering import restart_keys
from jgmm.covariance import FAMILIES, clip
from jgmm.loop import FitResult, Settings, run
from jgmm.maps import em_map
from jgmm.mixture import Mixture
from jgmm.prior import Prior, as_prior

# Lengths of the history that programs are compiled for; results are cut to max_iter + 1.
_CAPACITY = 512


@partial(
    jax.jit,
    static_argnames=("start", "known", "covariance_type", "size", "capacity", "accelerate", "mesh"),
)
def fit_lanes(
    data: Data,
    used: Array,
    keys: Array,
    init: Mixture | Array | None,
    settings: Settings,
    start: str,
    covariance_type: str,
    size: int,
    capacity: int,
    accelerate: bool,
    mesh: Mesh | None,
    prior: Prior | None = None,
    known: tuple[str, ...] = (),
) -> FitResult:
    """Fits side by side: one for each row of ``used`` [S, K] and each key [R].

    Args:
        data: samples [L, D + E]; the columns beyond D say what else is known of each.
        used: which components take part, [S, K].
        keys: a key for each restart, [R].
        init: the mixture or the means to start from, if the start is one of these.
        settings: see `Settings`.
        start: a name in `jgmm.starts.STARTS`, mixture, means, labels or responsibilities.
        covariance_type: the family.
        size: samples in a block.
        capacity: length of the history.
        accelerate: extrapolate with SQUAREM.
        mesh: where the data are.
        prior: of a MAP fit, in the data's units.
        known: "missing" if NaN features are missing, "labels" if the first column beyond D has
            known labels.

    Returns:
        A result with leading axes [S, R].
    """

    def lanes(
        raw: Blocks, used: Array, keys: Array, init: Mixture | Array | None, settings: Settings
    ) -> FitResult:
        d, missing = len(settings.floor), "missing" in known
        blocks = dataclasses.replace(raw, samples=raw.samples[:, :d])
        frame = _frame.measure(blocks, isotropic=covariance_type == "spherical", missing=missing)
        blocks = _frame.enter(blocks, frame)
        # A start takes missing features to be average.
        filled = blocks
        if missing:
            filled = dataclasses.replace(blocks, samples=jnp.nan_to_num(blocks.samples))
        if "labels" in known:
            rows = jnp.concatenate([blocks.samples, raw.samples[:, d : d + 1]], axis=1)
            blocks = dataclasses.replace(blocks, samples=rows)
        inside = None if prior is None else priors.enter(prior, frame)
        em = em_map(blocks, settings.floor, covariance_type, inside, known)
        floor = settings.floor
        if inside is not None:  # which is wide enough to go without a floor; a start is not
            weight = total_weight(blocks)
            floor = jnp.maximum(floor, 1e-3 * jnp.diagonal(inside.scale))
        start_at = partial(_first, filled, raw, frame, init, floor, covariance_type, start)

        def lane(used: Array, key: Array) -> FitResult:
            first = start_at(used, key)
            if "labels" in known and start in starts.STARTS:
                first = starts.match_labels(first, blocks, used, covariance_type, floor)
            result = run(first, em, settings, capacity, accelerate)
            if inside is not None:
                best = result.mixture
                bonus = priors.log_density(inside, best, covariance_type) / weight
                lost = priors.volumes(inside, best, covariance_type) / weight
                result = dataclasses.replace(
                    result,
                    log_likelihood=result.log_likelihood - bonus,
                    history=result.history - lost * jnp.sum(jnp.log(frame.scale)),
                )
            starved = jnp.any(used & (result.mixture.weights == 0))
            status = jnp.where(
                starved & (result.status != Status.NONFINITE), Status.DEGENERATE, result.status
            )
            return dataclasses.replace(
                result,
                mixture=_frame.mixture_leave(result.mixture, frame),
                status=status.astype(jnp.int32),
            )

        if len(used) == len(keys) == 1:  # without vmap it compiles faster, and cond branches
            alone = lane(used[0], keys[0])
            result: FitResult = jax.tree.map(lambda leaf: leaf[None, None], alone)
        else:
            result = jax.vmap(jax.vmap(lane, (None, 0)), (0, None))(used, keys)
        # In the data's units a density is smaller by the volume of the frame's unit cell.
        volume = jnp.log(frame.scale)
        volume = jnp.sum(volume * partial_data.shares_observed(blocks, d) if missing else volume)
        return dataclasses.replace(
            result,
            log_likelihood=result.log_likelihood - volume,
            history=result.history - volume,
        )

    return over_blocks(lanes, data, size, mesh, used, keys, init, settings)


def _first(
    blocks: Blocks,
    raw: Blocks,
    frame: _frame.Frame,
    init: Mixture | Array | None,
    floor: Array,
    family: str,
    start: str,
    used: Array,
    key: Array,
) -> Mixture:
    """The mixture to start from, in the frame."""
    if start in starts.STARTS:
        return starts.STARTS[start](blocks, used, key, family, floor)
    if isinstance(init, Mixture):
        given = _frame.mixture_enter(init, frame)
        return dataclasses.replace(given, covariances=clip(given.covariances, floor))
    if init is not None:
        means = (init - frame.center) / frame.scale
        return starts.from_means(blocks, means, used, family, floor)
    behind = 1 if start == "labels" else len(used)
    rows = jnp.concatenate([blocks.samples, raw.samples[:, -behind:]], axis=1)
    beside = dataclasses.replace(blocks, samples=rows)
    return starts.from_labels(beside, used, start, family, floor)


def prepare(
    pixels: ArrayLike,
    weights: ArrayLike | None,
    reg_covar: ArrayLike,
    tol: ArrayLike,
    max_iter: int,
    *,
    spread: bool = True,
    side: Sequence[Array] = (),
    missing: bool = False,
) -> tuple[Data, Mesh | None, Settings]:
    """Checked samples and weights on their devices (see `place`), and the traced settings.

    The columns of ``side``, [N, E] each, are put behind the features.
    """
    array = _checks.as_pixels(pixels, missing=missing)
    d, dtype = array.shape[-1], array.dtype
    sample_weights = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat = array if array.ndim == 2 else array.reshape(-1, d)  # which would be a copy
    del array
    if side:
        flat = jnp.concatenate([flat, *side], axis=1)
    data, mesh = place(flat, sample_weights, spread=spread)
    floor = _checks.as_nonnegative("reg_covar", reg_covar, dtype)
    if floor.shape not in ((), (d,)):
        raise ValueError(f"reg_covar: expected a number or shape ({d},), got {floor.shape}")
    settings = Settings(
        floor=jnp.broadcast_to(floor, (d,)),
        tol=_checks.as_nonnegative("tol", tol, dtype),
        max_iter=jnp.asarray(max_iter, jnp.int32),
    )
    return data, mesh, settings


def history_capacity(max_iter: int) -> int:
    """The history length to compile for: one of few."""
    return _CAPACITY * 2 ** max(0, -(-(max_iter + 1) // _CAPACITY) - 1).bit_length()


def fit(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | ArrayLike = "kmeans",
    covariance_type: str = "full",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
) -> FitResult:
    """Fit a mixture of k Gaussians by maximum likelihood.

    EM (Dempster, Laird and Rubin 1977) from a k-means start, accelerated by SQUAREM (Varadhan and
    Roland 2008). Each step is one pass over the data; no array of N times k values is made.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components. Of data with fewer distinct samples some get weight 0.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start. By name: "kmeans"; "k-means++", its choice of means; "random",
            random responsibilities; "random_from_data", random samples as means. Or a `Mixture`
            of k components, means [K, D], integer labels [...] (-1 where unknown), or
            responsibilities [..., K].
        covariance_type: "full", "tied", "diag" or "spherical".
        n_restarts: fits from different starts, side by side; the one of highest likelihood is
            returned.
        max_iter: steps at most.
        tol: stop when the log-likelihood per pixel gains less, in nats: per step, or per cycle of
            steps and extrapolation with ``accelerate``.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D].
        accelerate: extrapolate with SQUAREM. The likelihood never falls, with it or without.
        prior: a `Prior`, or "weak" for that of `weak_prior`: the fit maximises the posterior,
            and the history is that of log-likelihood plus log-prior (up to a constant).
        missing: "nan" takes NaN features as missing and fits the likelihood of the others;
            "error" refuses them.
        labels: known components of pixels, integers [...] with -1 for unknown.

    Returns:
        The fitted mixture in the units of the data, its log-likelihood, the history and a status.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit(pixels, 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    k = _checks.as_count("k", k)
    n_restarts = _checks.as_count("n_restarts", n_restarts)
    max_iter = _checks.as_count("max_iter", max_iter, minimum=0)
    _checks.one_of("covariance_type", covariance_type, FAMILIES)
    _checks.one_of("missing", missing, ("error", "nan"))
    gaps = missing == "nan"
    array = _checks.as_pixels(pixels, missing=gaps)
    d, dtype = array.shape[-1], array.dtype
    start, given, aside = starts.read(init, k, array.shape, covariance_type, dtype)
    side = [] if aside is None else [aside]
    if labels is not None:
        column = starts.as_labels("labels", labels, k, array.shape)
        side.insert(0, column.astype(dtype)[:, None])
    prior = as_prior(prior, array, k, weights, missing)
    data, mesh, settings = prepare(
        array, weights, reg_covar, tol, max_iter, side=side, missing=gaps
    )
    del array  # of large data one copy less
    n_lanes = n_restarts if start in starts.STARTS else 1
    used = given.weights > 0 if isinstance(given, Mixture) else jnp.ones(k, bool)
    lanes = fit_lanes(
        data,
        used[None],
        restart_keys(key, n_lanes),
        given,
        settings,
        start=start,
        covariance_type=covariance_type,
        size=block_size(k * n_lanes * (d + 1 if gaps else 1), d),
        capacity=history_capacity(max_iter),
        accelerate=accelerate,
        mesh=mesh,
        prior=prior,
        known=("missing",) * gaps + ("labels",) * (labels is not None),
    )
    return best_lane(jax.tree.map(lambda leaf: leaf[0], lanes), max_iter)


@partial(jax.jit, static_argnames="max_iter")
def best_lane(lanes: FitResult, max_iter: int) -> FitResult:
    """Of results [R] that of the highest likelihood, its history cut to ``max_iter`` + 1."""
    score = jnp.where(jnp.isfinite(lanes.log_likelihood), lanes.log_likelihood, -jnp.inf)
    best: FitResult = jax.tree.map(lambda leaf: leaf[jnp.argmax(score)], lanes)
    return dataclasses.replace(best, history=best.history[: max_iter + 1])
