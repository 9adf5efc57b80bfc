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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend, struct
from jgmm.data import monitor
from jgmm.data.origin import near_origin, plus
from jgmm.data.programs import program
from jgmm.data.samples import Samples
from jgmm.em.problem import Problem, pose
from jgmm.em.result import FitResult
from jgmm.families.family import Family
from jgmm.families.floor import at_floor
from jgmm.families.table import family_of
from jgmm.fitting.fitting import fit
from jgmm.fitting.options import history_capacity, stop_of
from jgmm.image.field import (
    NeighbourhoodEm,
    TiedProblem,
    as_samples,
    best_coupling,
    e_step,
    heldout_log_likelihood,
    m_step,
    smoothed,
)
from jgmm.image.settings import check_beta
from jgmm.image.spatial import as_mask
from jgmm.mixture.density import responsibilities
from jgmm.mixture.mixture import FitLike, Mixture
from jgmm.solvers.iterate import choose, iterate
from jgmm.solvers.stopping import Gain

NdArray = npt.NDArray[Any]

_ROUNDS, _STEPS = 9, 5  # with hidden pixels: one for each ninth of them, and steps of EM in each
_COUNTED = 3  # the last rounds, whose hidden pixels decide between starts


@struct
class PottsResult:
    """A mixture and the labels that were inferred with it."""

    fit: FitResult  # its objective and history are those of the Potts model
    labels: NdArray  # [H, W] int32, -1 where left out
    certainty: NdArray  # [H, W], largest of q; 0 where left out
    beta: float  # given or estimated


def fit_potts(
    features: ArrayLike,
    k: int,
    mask: ArrayLike | None = None,
    *,
    beta: float | str = "auto",
    covariance_type: str = "full",
    distribution: str = "gaussian",
    degrees_of_freedom: ArrayLike | str = "free",
    max_iter: int = 500,
    tol: float = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    key: jax.Array | int | None = None,
    init: str | Mixture | FitLike | ArrayLike = "kmeans",
    n_restarts: int = 1,
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
        distribution: see `jgmm.fit`.
        degrees_of_freedom: see `jgmm.fit`.
        max_iter: steps at most. Before them each start takes 45 of its own, pixels hidden, which
            are not counted. 0 takes none of either: of a mixture that was given it returns that,
            with labels and β inferred under it; otherwise the start that foretells best.
        tol: stop when a step gains less, in nats per pixel.
        reg_covar: see `jgmm.fit`.
        key: a JAX PRNG key, or an integer to make one of; None means 0.
        init: of each of three starts, which are those of `jgmm.fit` on averages over 3, 5 and 9
            pixels. A mixture is the only one.
        n_restarts: starts of each kind, of which the likeliest is taken.

    Returns:
        The fit, its weights the shares of the labels, and the labels.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: shapes that do not fit, unknown names, values that are not finite, tol < 0.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((20, 20, 1))
        >>> image[:, 10:] = 1
        >>> noisy = image + np.random.default_rng(0).normal(0, 0.5, image.shape)
        >>> found = fit_potts(noisy.astype(np.float32), 2)
        >>> bool((found.labels[:, :10] != found.labels[:, 10:]).all())
        True
    """
    family = family_of(covariance_type)
    max_iter = _checks.as_count("max_iter", max_iter, minimum=0)
    # A start that is given is where the pixels are.
    near = near_origin(features) if isinstance(init, str) else (_checks.as_pixels(features), None)
    values, origin = near
    if values.ndim != 3:
        raise ValueError(f"features: expected shape [H, W, D], got {values.shape}")
    check_beta(beta)
    stop = stop_of(tol, max_iter, values.dtype)
    height, width, d = values.shape
    inside = as_mask(mask, (height, width))
    part = inside.astype(values.dtype)
    image = as_samples(np.asarray(values), inside)
    start: dict[str, Any] = {
        "covariance_type": covariance_type,
        "distribution": distribution,
        "degrees_of_freedom": degrees_of_freedom,
        "reg_covar": reg_covar,
        "key": key,
        "init": init,
        "n_restarts": n_restarts,
    }
    if (who := monitor.listener()) is not None:
        who.expect(1)  # beside the starts
    given = isinstance(init, Mixture) or hasattr(init, "mixture")
    rough, likely = [], []
    for first in [values] if given else smoothed(np.asarray(values), inside):
        rough.append(fit(first, k, weights=part, max_iter=0, **start).mixture)
        q = np.zeros((k, *image.weights.shape), values.dtype)
        found = np.asarray(responsibilities(rough[-1], first))
        q[:, :height, :width] = found.transpose(2, 0, 1) * part
        likely.append(q)
    result, inferred, used = _fit(
        image,
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *rough),
        _checks.as_array(np.stack(likely)),
        _checks.as_array(1.0 if isinstance(beta, str) else beta, values.dtype),
        jnp.broadcast_to(_checks.as_array(reg_covar, values.dtype), (d,)),
        stop,
        family=family,
        capacity=history_capacity(max_iter),
        estimate=beta == "auto",
        given=given,
    )
    mixture = amend(result.mixture, means=plus(result.mixture.means, origin))
    history = result.history[: max_iter + 1]
    if who is not None:
        who.hear(f"k = {k}, tied", float(result.objective), int(result.n_iter))
    result = dataclasses.replace(result, mixture=mixture, history=history)
    posterior = np.asarray(inferred)
    labels, sure = np.argmax(posterior, axis=0), np.max(posterior, axis=0)
    return PottsResult(
        fit=result,
        labels=np.where(inside, labels[:height, :width], -1).astype(np.int32),
        certainty=np.where(inside, sure[:height, :width], 0),
        beta=float(used),
    )


@program("family", "capacity", "estimate", "given")
def _fit(
    raw: Samples,
    starts: Mixture,
    likely: jax.Array,
    beta: jax.Array,
    floor: jax.Array,
    stop: Gain,
    family: Family,
    capacity: int,
    estimate: bool,
    given: bool,
) -> tuple[FitResult, jax.Array, jax.Array]:
    problem = pose(raw, family, floor)
    moves = stop.max_iter > 0

    def begin(start: tuple[Mixture, jax.Array]) -> _Tried:
        rough = problem.standardize(start[0])
        mixture = m_step(problem, rough, start[1])  # of pixels, where that was of averages
        if given:
            mixture = choose(moves, mixture, rough)
        return _hide_and_seek(problem, mixture, start[1], beta, estimate, moves)

    tried = lax.map(begin, (starts, likely))
    best = jnp.argmax(jnp.where(jnp.isfinite(tried.heldout), tried.heldout, -jnp.inf))
    tried = jax.tree.map(lambda leaf: leaf[best], tried)
    solver = NeighbourhoodEm()
    start = (tried.mixture, tried.q)
    tied = TiedProblem(problem=problem, beta=tried.beta)
    run = iterate(tied, solver, start, stop, capacity, jax.random.key(0))
    mixture, q = run.best
    value = run.value.value
    plain = problem.evaluate(mixture).value
    result = FitResult(
        mixture=problem.unstandardize(mixture),
        log_likelihood=problem.log_likelihood(mixture, plain),
        objective=problem.in_data_units(mixture, value),
        history=problem.in_data_units(mixture, run.history),
        n_iter=run.n_iter,
        status=run.status,
        at_floor=at_floor(
            family, mixture.covariances, problem.floor.variances, mixture.n_components
        ),
    )
    return result, q, tried.beta


@struct
class _Tried:
    """A start after EM with pixels hidden."""

    mixture: Mixture
    q: jax.Array  # [K, H, W]
    beta: jax.Array
    heldout: jax.Array  # [], the log-likelihood of hidden pixels


def _hide_and_seek(
    problem: Problem,
    mixture: Mixture,
    q: jax.Array,
    beta: jax.Array,
    estimate: bool,
    moves: jax.Array,
) -> _Tried:
    """EM from a start, other pixels hidden in each round, and how well they are foretold.

    Unless the mixture ``moves`` its E-steps alone are taken.
    """
    image = problem.samples
    row, column = (jnp.arange(n, dtype=jnp.int32) % 3 for n in image.weights.shape)
    ninth = 3 * row[:, None] + column

    def round(i: jax.Array, tried: _Tried) -> _Tried:
        hidden = ninth == i

        def turn(_: Any, state: tuple[Mixture, jax.Array]) -> tuple[Mixture, jax.Array]:
            mixture, q = state
            q = e_step(image, mixture, q, tried.beta, hidden)
            return choose(moves, m_step(problem, mixture, jnp.where(hidden, 0, q)), mixture), q

        mixture, q = lax.fori_loop(0, _STEPS, turn, (tried.mixture, tried.q))
        beta = best_coupling(image, mixture, q, tried.beta, hidden) if estimate else tried.beta
        found = heldout_log_likelihood(image, mixture, q, beta, hidden)
        counts = jnp.where(i < _ROUNDS - _COUNTED, 0, found)
        return _Tried(mixture=mixture, q=q, beta=beta, heldout=tried.heldout + counts)

    nothing = jnp.zeros((), q.dtype)
    start = _Tried(mixture=mixture, q=q, beta=beta, heldout=nothing)
    return lax.fori_loop(0, _ROUNDS, round, start)
