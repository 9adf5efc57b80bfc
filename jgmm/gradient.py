"""`fit_gradient`: the fit by any optimizer of optax.

The parameters are free: a softmax of the weights, and covariances Σ = floor + L Lᵀ with triangular
factors L. A step of the optimizer is a step from the mixture where it is, in units of
what its components tell of themselves (their complete-data information): the way of steepest
ascent is then to first order that of EM, whatever the sizes of the components. What an optimizer
sees as its parameters is the sum of these steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._fold import Blocks, make_blocks
from jgmm._status import Status
from jgmm._struct import struct
from jgmm.covariance import clip
from jgmm.fitting import fit_by
from jgmm.implicit import differentiable
from jgmm.loop import EmMap, FitResult, Settings, run
from jgmm.maps import Objective
from jgmm.mixture import Mixture, log_weights
from jgmm.prior import Prior

# The gain is tested against tol every so many steps: an optimizer may go down before it goes up.
_PATIENCE = 20
_POLISH = 500  # steps of EM at most
_HIGHEST = lax.Precision.HIGHEST
Parameters = tuple[Array, Array, Array]


@struct
class _Place:
    """A mixture as the climb has it."""

    weights: Array  # [K]
    means: Array  # [K, D]
    factors: Array  # of the covariances above the floor, in their shape: L, or deviations


@struct
class _State:
    """The state of the climb. Each turn evaluates the objective at ``place`` and steps on."""

    place: _Place
    path: Parameters  # the sum of all steps
    memory: Any  # the optimizer's
    best: _Place
    height: Array  # the objective of the best
    checked: Array  # that at the last test for convergence
    n_evaluated: Array
    history: Array
    status: Array  # -1 while running


@dataclasses.dataclass(frozen=True)
class Ascent:
    """A climb by an optimizer, compiled once for each."""

    optimizer: optax.GradientTransformation
    n_steps: int
    batch_size: int | None
    polish: bool

    def __call__(
        self,
        first: Mixture,
        blocks: Blocks,
        objective: Callable[..., Objective],
        em: EmMap,
        settings: Settings,
        capacity: int,
        key: Array,
    ) -> FitResult:
        """From ``first``, in the frame, to the best mixture met."""
        # optax mixes dtypes in its counters.
        with jax.numpy_dtype_promotion("standard"):
            start = _enter(first, settings.floor)
            if self.batch_size is None:
                whole = objective(blocks)
                state = self._climb(start, lambda i: whole, settings, capacity)
            else:
                draw = _sampler(blocks, self.batch_size, jax.random.fold_in(key, 1))
                state = self._climb(start, lambda i: objective(draw(i)), settings, capacity)
                state = _settle(state, start, objective(blocks), settings.floor)
        n = state.n_evaluated - 1
        result = FitResult(
            mixture=_leave(state.best, settings.floor),
            log_likelihood=state.height,
            history=state.history,
            n_iter=n,
            status=state.status,
        )
        if not self.polish:
            return result
        rest = dataclasses.replace(settings, max_iter=settings.max_iter - self.n_steps)
        polished = run(result.mixture, em, rest, capacity, accelerate=True)
        # NaN beyond its end, like all histories.
        tail = jnp.arange(capacity, dtype=n.dtype) - n
        history = jnp.where(tail < 0, result.history, jnp.roll(polished.history, n))
        return dataclasses.replace(polished, history=history, n_iter=n + polished.n_iter)

    def _climb(
        self,
        start: _Place,
        objective: Callable[[Array], Objective],
        settings: Settings,
        capacity: int,
    ) -> _State:
        """Up to ``n_steps`` steps on ``objective(i)``, the objective of the i-th step."""
        optimizer = optax.with_extra_args_support(self.optimizer)
        at_start = jax.tree.map(jnp.zeros_like, (start.weights, start.means, start.factors))

        def turn(s: _State) -> _State:
            function = objective(s.n_evaluated)

            def loss(path: Parameters) -> Array:
                step = jax.tree.map(jnp.subtract, path, s.path)
                return -function(_leave(_move(s.place, step, settings.floor), settings.floor))

            value, grad = jax.value_and_grad(loss)(s.path)
            first = s.n_evaluated == 0
            finite = jnp.isfinite(value)
            improved = finite & (first | (-value > s.height))
            if self.batch_size is not None:  # values of batches do not compare
                improved = finite
            best, height = _choose(improved, (s.place, -value), (s.best, s.height))
            test = (s.n_evaluated % _PATIENCE == 0) & (self.batch_size is None)
            status = jnp.where(test & (height - s.checked < settings.tol), Status.CONVERGED, -1)
            status = jnp.where(first, -1, status)
            status = jnp.where(finite, status, Status.DEGENERATE)
            status = jnp.where(first & ~finite, Status.NONFINITE, status)
            n_evaluated = s.n_evaluated + 1
            ended = (status < 0) & (n_evaluated > self.n_steps)
            updates, memory = optimizer.update(
                grad, s.memory, s.path, value=value, grad=grad, value_fn=loss
            )
            return _State(
                place=_move(s.place, updates, settings.floor),
                path=optax.apply_updates(s.path, updates),
                memory=memory,
                best=best,
                height=height,
                checked=jnp.where(test, height, s.checked),
                n_evaluated=n_evaluated,
                history=s.history.at[s.n_evaluated].set(-value),
                status=jnp.where(ended, Status.MAX_ITER, status).astype(jnp.int32),
            )

        dtype = start.means.dtype
        low = jnp.asarray(-jnp.inf, dtype)
        state = _State(
            place=start,
            path=at_start,
            memory=optimizer.init(at_start),
            best=start,
            height=low,
            checked=low,
            n_evaluated=jnp.zeros((), jnp.int32),
            history=jnp.full(max(capacity, 1), jnp.nan, dtype),
            status=jnp.asarray(-1, jnp.int32),
        )
        return lax.while_loop(lambda s: s.status < 0, turn, state)


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _settle(state: _State, start: _Place, height: Objective, floor: Array) -> _State:
    """After batches: the last place or the start, whichever all samples say is better."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, state.best)
    before, after = lax.map(lambda place: height(_leave(place, floor)), both)
    better = after > before
    return dataclasses.replace(
        state,
        best=_choose(better, state.best, start),
        height=jnp.where(better, after, before),
        history=state.history.at[state.n_evaluated - 1].set(after),
    )


def _low(floor: Array, shape: tuple[int, ...]) -> Array:
    """The floor as covariances of a family: [D, D], [D] or []."""
    if len(shape) == 3:
        return jnp.diag(floor)
    return floor if shape[1] > 1 else jnp.mean(floor)


def _enter(mixture: Mixture, floor: Array) -> _Place:
    """Covariances at the floor are raised to twice that, from where they can rise and fall."""
    c = mixture.covariances
    above = clip(c, 2 * floor) - _low(floor, c.shape)
    return _Place(
        weights=mixture.weights,
        means=mixture.means,
        factors=jnp.linalg.cholesky(above) if c.ndim == 3 else jnp.sqrt(above),
    )


def _leave(place: _Place, floor: Array) -> Mixture:
    factors = place.factors
    if factors.ndim == 3:
        squares = jnp.einsum("kij,klj->kil", factors, factors, precision=_HIGHEST)
    else:
        squares = factors**2
    return Mixture(
        weights=place.weights,
        means=place.means,
        covariances=squares + _low(floor, factors.shape),
    )


def _move(place: _Place, step: Parameters, floor: Array) -> _Place:
    """A step in log weights, whitened means and factors, in units of their uncertainty.

    Factors add up. Were they to multiply, those near 0 would never come nearer.
    """
    log_ratios, shifts, growth = step
    k, d = place.means.shape
    used = place.weights > 0
    unit = lax.stop_gradient(lax.rsqrt(jnp.where(used, place.weights, 1)))
    logits = log_weights(place.weights) + log_ratios * unit
    factors, c = place.factors, _leave(place, floor).covariances
    shifts = shifts * unit[:, None]
    alone = unit if len(c) == k else jnp.ones(1, unit.dtype)
    if factors.ndim == 3:
        roots = jnp.broadcast_to(jnp.linalg.cholesky(c), (k, d, d))
        shifts = jnp.einsum("kij,kj->ki", roots, shifts, precision=_HIGHEST)
        inner = jnp.tril(growth) * alone[:, None, None]
        inner = inner * jnp.where(jnp.eye(d, dtype=bool), 0.5**0.5, 1).astype(inner.dtype)
        roots = roots[: len(c)]
        factors = factors + jnp.einsum("kij,kjl->kil", roots, inner, precision=_HIGHEST)
    else:
        shifts = jnp.sqrt(c) * shifts
        factors = factors + jnp.sqrt(c) * growth * alone[:, None] / (2 * d / c.shape[1]) ** 0.5
    return _Place(
        weights=jax.nn.softmax(jnp.where(used, logits, -jnp.inf)),
        means=place.means + shifts,
        factors=factors,
    )


def _sampler(blocks: Blocks, batch_size: int, key: Array) -> Callable[[Array], Blocks]:
    """Batches drawn with replacement, in proportion to the sample weights."""
    n = batch_size
    if blocks.axis is not None:
        n = -(-n // blocks.axis.size)
        key = jax.random.fold_in(key, lax.axis_index(blocks.axis.name))
    within = jnp.cumsum(blocks.weights, axis=1)
    across = jnp.cumsum(within[:, -1])[None]
    total = across[0, -1]

    def draw(i: Array) -> Blocks:
        # The block first, then the sample in it: one sum over millions would be too coarse.
        lots = jax.random.uniform(jax.random.fold_in(key, i), (2, n), within.dtype)
        block = _search(across, jnp.zeros(n, jnp.int32), lots[0] * total)
        row = _search(within, block, lots[1] * within[block, -1])
        share = jnp.where(blocks.weights[block, row] > 0, total / n, 0)
        size = min(n, blocks.weights.shape[1])
        return make_blocks(blocks.samples[block, :, row], share, size, axis=blocks.axis)

    return draw


def _search(sums: Array, rows: Array, targets: Array) -> Array:
    """The first column of ``sums`` [R, S], in each of the ``rows`` [n], that exceeds the target."""
    size = sums.shape[1]
    found = jnp.zeros_like(rows)
    for power in reversed(range(size.bit_length())):
        probe = found + (1 << power)
        below = (probe <= size) & (sums[rows, jnp.minimum(probe, size) - 1] <= targets)
        found = jnp.where(below, probe, found)
    return jnp.minimum(found, size - 1)


@functools.lru_cache(maxsize=None)
def _default(n_steps: int | None) -> optax.GradientTransformation:
    """One object for each length, because programs are compiled for the object."""
    return optax.sgd(1.0 if n_steps is None else optax.cosine_decay_schedule(1.0, n_steps))


@differentiable
def fit_gradient(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    init: str | Mixture | ArrayLike = "kmeans",
    covariance_type: str = "full",
    optimizer: optax.GradientTransformation | None = None,
    n_steps: int = 2000,
    batch_size: int | None = None,
    polish: str | None = None,
    n_restarts: int = 1,
    tol: ArrayLike = 1e-6,
    reg_covar: ArrayLike = 1e-6,
    prior: Prior | str | None = None,
    missing: str = "error",
    labels: ArrayLike | None = None,
) -> FitResult:
    """Fit a mixture of k Gaussians by any optimizer of optax.

    The same likelihood, starts and families as `fit`, climbed by its gradient, which costs as
    much as a step of EM (Fisher's identity). Parameters are log weights, whitened means and
    Cholesky factors of what covariances have beyond the floor, in units in which a gradient step of length 1 is to first order a step of
    EM. For most data `fit` is the better choice; this is for minibatches, and for optimizers of
    your own.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components.
        key: a JAX PRNG key, for the start and the batches; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start; see `fit`.
        covariance_type: "full", "tied", "diag" or "spherical".
        optimizer: an optax ``GradientTransformation``; None means steps of length 1, which with
            batches decay to 0 along a cosine. ``optax.lbfgs()`` takes fewer passes over all samples
            and may end in another optimum, as acceleration may. Programs are compiled for the
            object: make it once, not for every call.
        n_steps: steps of the optimizer at most.
        batch_size: samples drawn for each step, with replacement and in proportion to their
            weights; None means all samples.
        polish: "em" ends with up to 500 steps of accelerated EM.
        n_restarts: fits from different starts, of which the best is returned.
        tol: stop when 20 steps together gain less, in nats per pixel; with batches never.
        reg_covar: least variance of a component along any direction, relative to the variance of
            the data; a number or [D].
        prior: see `fit`.
        missing: see `fit`.
        labels: see `fit`.

    Returns:
        The best mixture met and its log-likelihood; the history [n_steps + 1], with 500 more
        where polished; and a status: CONVERGED, or MAX_ITER after ``n_steps``. With batches the
        history is that of each step's batch, and of all samples at the end, and the
        mixture is the last, or the start should that be better. Derivatives are as those of
        `fit`, and as good as the mixture has converged.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, an unknown name, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 2))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> result = jgmm.fit_gradient(pixels, 2)
        >>> print(jgmm.Status(int(result.status)).name, result.mixture.weights)
        CONVERGED [0.5 0.5]
    """
    n_steps = _checks.as_count("n_steps", n_steps, minimum=0)
    if batch_size is not None:
        batch_size = _checks.as_count("batch_size", batch_size)
    if polish is not None:
        _checks.one_of("polish", polish, ("em",))
    if optimizer is None:
        optimizer = _default(None if batch_size is None else max(n_steps, 1))
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer: expected an optax GradientTransformation, got {optimizer!r}")
    return fit_by(
        Ascent(optimizer, n_steps, batch_size, polish is not None),
        pixels,
        k,
        key=key,
        weights=weights,
        init=init,
        covariance_type=covariance_type,
        n_restarts=n_restarts,
        max_iter=n_steps + (_POLISH if polish else 0),
        tol=tol,
        reg_covar=reg_covar,
        accelerate=True,
        prior=prior,
        missing=missing,
        labels=labels,
    )
