"""Fits side by side: lanes of one compiled program, for restarts and for numbers of components."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from jgmm._status import Status
from jgmm.data import frame as _frame
from jgmm.data.devices import Data, over_blocks
from jgmm.data.fold import Blocks, make_blocks, subsample, total_weight
from jgmm.em import incomplete as partial_data
from jgmm.em import prior as priors
from jgmm.em.objective import Objective, em_map, objective_map
from jgmm.em.prior import Prior
from jgmm.families.covariance import FAMILIES, clip
from jgmm.fitting import starts
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import EmMap, FitResult, Settings, run, stay

# When a run on a subsample stops: it need not be nearer to its optimum than that is to the one of
# all samples.
_SHORT_TOL, _SHORT_STEPS = 1e-5, 200
# From a start in the frame, with the samples, to the result: see `jgmm.solvers.optimizer`.
Climb = Callable[
    [Mixture, Blocks, Callable[..., Objective], EmMap, Settings, int, Array], FitResult
]


def pool_size(n: int, k: int, d: int, covariance_type: str) -> int:
    """How many of ``n`` samples a short run takes; 0 where it is not worth its while.

    An eighth, but so many that the parameters are well determined, and no more than it takes to
    come within a few steps of the optimum of all.
    """
    parameters = k * (d + 1) + FAMILIES[covariance_type].n_parameters(k, d)
    determined = (20 * parameters - 1).bit_length()
    bits = min((n // 8).bit_length() - 1, max(17, determined))
    return 1 << bits if bits >= max(13, determined) else 0


@partial(
    jax.jit,
    static_argnames=(
        "start",
        "known",
        "covariance_type",
        "size",
        "capacity",
        "accelerate",
        "mesh",
        "pool",
        "climb",
    ),
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
    pool: int = 0,
    climb: Climb | None = None,
) -> FitResult:
    """Fits side by side: one for each row of ``used`` [S, K] and each key [R].

    Args:
        data: samples [L, D + E]; the columns beyond D say what else is known of each.
        used: which components take part, [S, K].
        keys: a key for each restart, [R].
        init: the mixtures or the means to start from, if the start is one of these, with leading
            axes [S, R].
        settings: see `Settings`.
        start: a name in `jgmm.fitting.starts.STARTS`, mixture, means, labels or responsibilities.
        covariance_type: the family.
        size: samples in a block.
        capacity: length of the history.
        accelerate: extrapolate with SQUAREM.
        mesh: where the data are.
        prior: of a MAP fit, in the data's units.
        known: "missing" if NaN features are missing, "labels" if the first column beyond D has
            known labels.
        pool: make the start, by name, run EM on so many of the samples and stay where it ends;
            0 for a fit to all.
        climb: from the start to the result; None means EM.

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
        if "labels" in known:
            rows = jnp.concatenate([blocks.samples, raw.samples[:, d : d + 1]], axis=1)
            blocks = dataclasses.replace(blocks, samples=rows)
        inside = None if prior is None else priors.enter(prior, frame)
        weight = total_weight(blocks)
        floor = settings.floor
        if inside is not None:  # which is wide enough to go without a floor; a start is not
            floor = jnp.maximum(floor, 1e-3 * jnp.diagonal(inside.scale))

        def em(blocks: Blocks) -> Callable[..., tuple[Mixture, tuple[Array, Array]]]:
            return em_map(blocks, settings.floor, covariance_type, inside, known)

        def begin(blocks: Blocks, used: Array, key: Array) -> Mixture:
            """A start by name."""
            features = blocks.samples[:, :d]
            if missing:  # a start takes missing features to be average
                features = jnp.nan_to_num(features)
            plain = dataclasses.replace(blocks, samples=features)
            first = starts.STARTS[start](plain, used, key, covariance_type, floor)
            if "labels" in known:
                first = starts.match_labels(first, blocks, used, covariance_type, floor)
            return first

        def lane(used: Array, key: Array, init: Mixture | Array | None) -> FitResult:
            if start not in starts.STARTS:
                first = _given(blocks, raw, frame, init, floor, covariance_type, start, used)
            elif pool:
                few = _few(blocks, key, pool, size, weight)
                short = dataclasses.replace(
                    settings,
                    tol=jnp.maximum(settings.tol, _SHORT_TOL),
                    max_iter=jnp.full_like(settings.max_iter, _SHORT_STEPS),
                )
                first = run(begin(few, used, key), em(few), short, 1, accelerate).mixture
            else:
                first = begin(blocks, used, key)
            if pool:
                result = stay(first, em(blocks))
            elif climb is None:
                result = run(first, em(blocks), settings, capacity, accelerate)
            else:
                objective = partial(
                    objective_map, family=covariance_type, prior=inside, known=known
                )
                result = climb(first, blocks, objective, em(blocks), settings, capacity, key)
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
            alone = lane(used[0], keys[0], jax.tree.map(lambda leaf: leaf[0, 0], init))
            result: FitResult = jax.tree.map(lambda leaf: leaf[None, None], alone)
        else:
            result = jax.vmap(jax.vmap(lane, (None, 0, 0)), (0, None, 0))(used, keys, init)
        # In the data's units a density is smaller by the volume of the frame's unit cell.
        volume = jnp.log(frame.scale)
        volume = jnp.sum(volume * partial_data.shares_observed(blocks, d) if missing else volume)
        return dataclasses.replace(
            result,
            log_likelihood=result.log_likelihood - volume,
            history=result.history - volume,
        )

    return over_blocks(lanes, data, size, mesh, used, keys, init, settings)


def _few(blocks: Blocks, key: Array, count: int, size: int, weight: Array) -> Blocks:
    """``count`` of the samples, in blocks of ``size``, that weigh as much as all do."""
    pool = subsample(blocks, key, count, gather=False)
    mass = total_weight(pool)
    factor = weight / jnp.where(mass > 0, mass, 1)
    return make_blocks(pool.samples[0].T, factor * pool.weights[0], size, axis=pool.axis)


def _given(
    blocks: Blocks,
    raw: Blocks,
    frame: _frame.Frame,
    init: Mixture | Array | None,
    floor: Array,
    family: str,
    start: str,
    used: Array,
) -> Mixture:
    """The mixture to start from that a caller gave, in the frame."""
    if isinstance(init, Mixture):
        given = _frame.mixture_enter(init, frame)
        return dataclasses.replace(given, covariances=clip(given.covariances, floor))
    plain = jnp.nan_to_num(blocks.samples[:, : len(floor)])
    blocks = dataclasses.replace(blocks, samples=plain)
    if init is not None:
        means = (init - frame.center) / frame.scale
        return starts.from_means(blocks, means, used, family, floor)
    behind = 1 if start == "labels" else len(used)
    rows = jnp.concatenate([plain, raw.samples[:, -behind:]], axis=1)
    return starts.from_labels(dataclasses.replace(blocks, samples=rows), used, start, family, floor)
