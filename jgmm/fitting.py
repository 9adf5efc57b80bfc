"""`fit`: a start, EM until the likelihood stops rising, and the result in the data's units."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks, _frame, lloyd
from jgmm._fold import Blocks, block_size, make_blocks, pad_samples
from jgmm._status import Status, raise_for_status
from jgmm._struct import struct
from jgmm.accelerate import extrapolate
from jgmm.covariance import FAMILIES, clip
from jgmm.em import expectation, maximisation
from jgmm.mixture import Mixture

T = TypeVar("T")

STARTS = ("kmeans",)
# Lengths of the history that programs are compiled for; results are cut to max_iter + 1.
_CAPACITY = 512


@struct
class FitResult:
    """The result of `fit`: the best mixture met, and the way there.

    Log-likelihoods are means in nats per (weighted) pixel, in the units of the data.
    """

    mixture: Mixture
    log_likelihood: Array  # [], of this mixture
    history: Array  # [max_iter + 1], of the start and after every step; then NaN
    n_iter: Array  # [], steps taken
    status: Array  # [], a `Status`

    def raise_for_status(self) -> None:
        """Raise a RuntimeError unless converged."""
        raise_for_status(self.status)


@struct
class Settings:
    """What is traced: changing it does not compile again."""

    floor: Array  # [D], least variance of each feature relative to the data's
    tol: Array  # []
    max_iter: Array  # []


@struct
class _State:
    """The state of the EM loop. Each turn evaluates the likelihood of ``point`` and steps on."""

    point: Mixture  # to be evaluated next
    best: Mixture  # the best evaluated so far
    head: Array  # its log-likelihood, as head + tail
    tail: Array
    checked: Array  # the log-likelihood at the last test for convergence, head and tail [2]
    start: Mixture  # SQUAREM: where the cycle started
    fallback: Mixture  # SQUAREM: plain EM's own next point, should the extrapolation not do
    longest: Array  # SQUAREM: the longest step allowed
    phase: Array  # 0 at the start of a cycle, 1 one step on, 2 at an extrapolated point
    n_evaluated: Array
    history: Array
    status: Array  # -1 while running


def run(
    mixture: Mixture,
    blocks: Blocks,
    settings: Settings,
    covariance_type: str,
    capacity: int,
    accelerate: bool,
) -> FitResult:
    """EM from ``mixture`` over samples in the frame of `_frame`, until it gains less than tol.

    Every turn of the loop is one pass over the data: it evaluates the likelihood of a point and
    makes the next one by an EM step. SQUAREM proposes an extrapolated point after every second
    step; one whose likelihood is below the best so far is dropped.
    """
    dtype = mixture.means.dtype
    capacity = max(capacity, 1)

    def turn(s: _State) -> _State:
        stats, (head, tail) = expectation(s.point, blocks)
        following = maximisation(s.point, stats, covariance_type, settings.floor)
        first = s.n_evaluated == 0
        finite = jnp.isfinite(head)
        gain = (head - s.head) + (tail - s.tail)
        improved = finite & (first | (gain > 0))
        best, head, tail = _choose(improved, (s.point, head, tail), (s.best, s.head, s.tail))

        # Plain EM is tested after every step. Under SQUAREM the test waits for the turn after an
        # extrapolation, because one short step of EM says little about what a long one can gain.
        checked = (head - s.checked[0]) + (tail - s.checked[1])
        test = ~first & (s.phase == (1 if accelerate else 0))
        status = jnp.where(test & (checked < settings.tol), Status.CONVERGED, -1)
        status = jnp.where(finite | (s.phase == 2), status, Status.DEGENERATE)
        status = jnp.where(first & ~finite, Status.NONFINITE, status)
        n_evaluated = s.n_evaluated + 1
        out_of_turns = n_evaluated > settings.max_iter
        status = jnp.where((status < 0) & out_of_turns, Status.MAX_ITER, status)
        state = dataclasses.replace(
            s,
            point=following,
            best=best,
            head=head,
            tail=tail,
            checked=jnp.where(test | first, jnp.stack([head, tail]), s.checked),
            n_evaluated=n_evaluated,
            history=s.history.at[s.n_evaluated].set(head),
            status=status.astype(jnp.int32),
        )
        if not accelerate:
            return state
        return _next_of_cycle(state, s.point, accepted=improved, floor=settings.floor)

    minus_infinity = jnp.asarray(-jnp.inf, dtype)
    zero = jnp.zeros((), dtype)
    state = _State(
        point=mixture,
        best=mixture,
        head=minus_infinity,
        tail=zero,
        checked=jnp.stack([minus_infinity, zero]),
        start=mixture,
        fallback=mixture,
        longest=jnp.asarray(4, dtype),
        phase=jnp.zeros((), jnp.int32),
        n_evaluated=jnp.zeros((), jnp.int32),
        history=jnp.full(capacity, jnp.nan, dtype),
        status=jnp.asarray(-1, jnp.int32),
    )
    state = lax.while_loop(lambda s: s.status < 0, turn, state)
    return FitResult(
        mixture=state.best,
        log_likelihood=state.head,
        history=state.history,
        n_iter=state.n_evaluated - 1,
        status=state.status,
    )


def _next_of_cycle(state: _State, point: Mixture, accepted: Array, floor: Array) -> _State:
    """Where SQUAREM goes from ``point``, just evaluated; ``state.point`` is its EM successor."""

    def propose(state: _State) -> _State:
        far, length = extrapolate(state.start, point, state.point, state.longest)
        far = dataclasses.replace(far, covariances=clip(far.covariances, floor))
        longest = jnp.where(length >= state.longest, 4 * state.longest, state.longest)
        return dataclasses.replace(
            state,
            point=far,
            fallback=state.point,
            longest=longest,
            phase=jnp.full_like(state.phase, 2),
        )

    def begin(state: _State) -> _State:
        """Take ``point`` as the start of a cycle, unless it is an extrapolation that failed."""
        keep = (state.phase == 0) | accepted
        return dataclasses.replace(
            state,
            start=_choose(keep, point, state.start),
            point=_choose(keep, state.point, state.fallback),
            longest=jnp.where(keep, state.longest, jnp.maximum(state.longest / 4, 1)),
            phase=jnp.where(keep, 1, 0).astype(jnp.int32),
        )

    return lax.cond(state.phase == 1, propose, begin, state)


def _choose(condition: Array, yes: T, no: T) -> T:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def start_from_kmeans(
    blocks: Blocks, used: Array, key: Array, covariance_type: str, floor: Array
) -> Mixture:
    """The mixture of the clusters that k-means finds: their shares, means and covariances."""
    k, d = len(used), blocks.n_features
    dtype = blocks.samples.dtype
    found = lloyd.cluster(
        blocks, k, used, key, jnp.asarray(1e-4, dtype), jnp.asarray(100, jnp.int32)
    )
    matrices = covariance_type in ("full", "tied")
    unit = (
        jnp.broadcast_to(jnp.eye(d, dtype=dtype), (k, d, d))
        if matrices
        else jnp.ones((k, d), dtype)
    )
    spheres = Mixture(
        weights=used.astype(dtype) / jnp.sum(used, dtype=dtype),
        means=found.centroids,
        covariances=unit,
    )
    stats, _ = expectation(spheres, blocks, hard=True)
    return maximisation(spheres, stats, covariance_type, floor)


@partial(jax.jit, static_argnames=("covariance_type", "size", "capacity", "accelerate"))
def fit_lanes(
    pixels: Array,
    weights: Array,
    n: Array | None,
    used: Array,
    keys: Array,
    init: Mixture | None,
    settings: Settings,
    covariance_type: str,
    size: int,
    capacity: int,
    accelerate: bool,
) -> FitResult:
    """Fits side by side: one for each row of ``used`` [S, K] and each key [R].

    Returns:
        A result with leading axes [S, R].
    """
    blocks = make_blocks(pixels, weights, size, n)
    frame = _frame.measure(blocks, isotropic=covariance_type == "spherical")
    blocks = _frame.enter(blocks, frame)

    def lane(used: Array, key: Array) -> FitResult:
        if init is None:
            start = start_from_kmeans(blocks, used, key, covariance_type, settings.floor)
        else:
            start = _frame.mixture_enter(init, frame)
            floored = clip(start.covariances, settings.floor)
            start = dataclasses.replace(start, covariances=floored)
        result = run(start, blocks, settings, covariance_type, capacity, accelerate)
        starved = jnp.any(used & (result.mixture.weights == 0))
        status = jnp.where(
            starved & (result.status != Status.NONFINITE), Status.DEGENERATE, result.status
        )
        return dataclasses.replace(result, status=status.astype(jnp.int32))

    result = jax.vmap(jax.vmap(lane, (None, 0)), (0, None))(used, keys)
    # In the data's units a density is smaller by the volume of the frame's unit cell.
    volume = jnp.sum(jnp.log(frame.scale))
    return dataclasses.replace(
        result,
        mixture=jax.vmap(jax.vmap(_frame.mixture_leave, (0, None)), (0, None))(
            result.mixture, frame
        ),
        log_likelihood=result.log_likelihood - volume,
        history=result.history - volume,
    )


def prepare(
    pixels: ArrayLike,
    weights: ArrayLike | None,
    reg_covar: ArrayLike,
    tol: ArrayLike,
    max_iter: int,
) -> tuple[Array, Array, Array | None, Settings]:
    """Checked and padded samples and weights, their number, and the traced settings."""
    array = _checks.as_pixels(pixels)
    d, dtype = array.shape[-1], array.dtype
    sample_weights = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat, sample_weights, n = pad_samples(array.reshape(-1, d), sample_weights)
    floor = _checks.as_nonnegative("reg_covar", reg_covar, dtype)
    if floor.shape not in ((), (d,)):
        raise ValueError(f"reg_covar: expected a number or shape ({d},), got {floor.shape}")
    settings = Settings(
        floor=jnp.broadcast_to(floor, (d,)),
        tol=_checks.as_nonnegative("tol", tol, dtype),
        max_iter=jnp.asarray(max_iter, jnp.int32),
    )
    return flat, sample_weights, n, settings


def history_capacity(max_iter: int) -> int:
    """The history length to compile for: one of few."""
    return _CAPACITY * 2 ** max(0, -(-(max_iter + 1) // _CAPACITY) - 1).bit_length()


def fit(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture = "kmeans",
    covariance_type: str = "full",
    n_restarts: int = 1,
    max_iter: int = 500,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    accelerate: bool = True,
) -> FitResult:
    """Fit a mixture of k Gaussians by maximum likelihood.

    EM (Dempster, Laird and Rubin 1977) from a k-means start, accelerated by SQUAREM (Varadhan and
    Roland 2008). Each step is one pass over the data; no array of N times k values is made.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components. Of data with fewer distinct samples some get weight 0.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: "kmeans", or a `Mixture` of k components to start from.
        covariance_type: "full", "tied", "diag" or "spherical".
        n_restarts: fits from different starts, side by side; the one of highest likelihood is
            returned.
        max_iter: steps at most.
        tol: stop when the log-likelihood per pixel gains less, in nats: per step, or per cycle of
            steps and extrapolation with ``accelerate``.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D].
        accelerate: extrapolate with SQUAREM. The likelihood never falls, with it or without.

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
    flat, sample_weights, n, settings = prepare(pixels, weights, reg_covar, tol, max_iter)
    if isinstance(init, Mixture):
        init = _conform_init(init, k, flat.shape[1], covariance_type, flat.dtype)
        used, start = init.weights > 0, init
    else:
        _checks.one_of("init", init, STARTS)
        used, start = jnp.ones(k, bool), None
    lanes = fit_lanes(
        flat,
        sample_weights,
        n,
        used[None],
        lloyd.restart_keys(key, 1 if start is not None else n_restarts),
        start,
        settings,
        covariance_type=covariance_type,
        size=block_size(k * (n_restarts if start is None else 1), flat.shape[1]),
        capacity=history_capacity(max_iter),
        accelerate=accelerate,
    )
    return best_lane(jax.tree.map(lambda leaf: leaf[0], lanes), max_iter)


@partial(jax.jit, static_argnames="max_iter")
def best_lane(lanes: FitResult, max_iter: int) -> FitResult:
    """Of results [R] that of the highest likelihood, its history cut to ``max_iter`` + 1."""
    score = jnp.where(jnp.isfinite(lanes.log_likelihood), lanes.log_likelihood, -jnp.inf)
    best: FitResult = jax.tree.map(lambda leaf: leaf[jnp.argmax(score)], lanes)
    return dataclasses.replace(best, history=best.history[: max_iter + 1])


def _conform_init(init: Mixture, k: int, d: int, covariance_type: str, dtype: jnp.dtype) -> Mixture:
    """The warm start in ``dtype``, or a ValueError where it does not fit what is asked for."""
    shapes = (init.weights.shape, init.means.shape, init.covariances.shape)
    expected = ((k,), (k, d), FAMILIES[covariance_type].shape(k, d))
    if shapes != expected:
        raise ValueError(
            f"init: expected a {covariance_type} mixture of weights, means and covariances of "
            f"shapes {expected}, got {shapes}"
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), init)
