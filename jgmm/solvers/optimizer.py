"""The climb of a fit by any optimizer of optax.

The parameters are free: a softmax of the weights, and covariances Σ = floor + L Lᵀ with triangular
factors L. A step of the optimizer is a step from the mixture where it is, in units of
what its components tell of themselves (their complete-data information): the way of steepest
ascent is then to first order that of EM, whatever the sizes of the components. What an optimizer
sees as its parameters is the sum of these steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jgmm._status import Status
from jgmm._struct import struct
from jgmm.data.fold import Blocks
from jgmm.data.minibatches import sampler
from jgmm.em.objective import Objective
from jgmm.families.covariance import clip, shaped
from jgmm.mixture.mixture import Mixture, log_weights
from jgmm.solvers.iterate import EmMap, FitResult, Settings, choose, run

# The gain is tested against tol every so many steps: an optimizer may go down before it goes up.
_PATIENCE = 20
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
                draw = sampler(blocks, self.batch_size, jax.random.fold_in(key, 1))
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
            best, height = choose(improved, (s.place, -value), (s.best, s.height))
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


def _settle(state: _State, start: _Place, height: Objective, floor: Array) -> _State:
    """After batches: the last place or the start, whichever all samples say is better."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, state.best)
    before, after = lax.map(lambda place: height(_leave(place, floor)), both)
    better = after > before
    return dataclasses.replace(
        state,
        best=choose(better, state.best, start),
        height=jnp.where(better, after, before),
        history=state.history.at[state.n_evaluated - 1].set(after),
    )


def _enter(mixture: Mixture, floor: Array) -> _Place:
    """Covariances at the floor are raised to twice that, from where they can rise and fall."""
    c = mixture.covariances
    above = clip(c, 2 * floor) - shaped(floor, c.shape)
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
        covariances=squares + shaped(floor, factors.shape),
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
