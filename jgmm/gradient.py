"""`fit_gradient`: the fit by any optimizer of optax.

The parameters are free: a softmax of the weights, and covariances Σ = floor + L Lᵀ with L = L₀ C,
where L₀ is the factor of the start and C triangular with a positive diagonal. They are measured
in units of what the start's components tell of them, so that one step length suits all.
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
class _State:
    """The state of the climb. Each turn evaluates the objective at ``parameters`` and steps on."""

    parameters: Parameters
    memory: Any  # the optimizer's
    best: Parameters
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
        origin, mixture_at = _chart(first, settings.floor)
        whole = objective(blocks)

        def height(parameters: Parameters) -> Array:
            return whole(mixture_at(parameters))

        # optax mixes dtypes in its counters.
        with jax.numpy_dtype_promotion("standard"):
            if self.batch_size is None:
                state = self._climb(origin, lambda i: height, settings, capacity)
            else:
                draw = _sampler(blocks, self.batch_size, jax.random.fold_in(key, 1))

                def sampled(i: Array) -> Callable[[Parameters], Array]:
                    part = objective(draw(i))
                    return lambda parameters: part(mixture_at(parameters))

                state = self._climb(origin, sampled, settings, capacity)
                state = _settle(state, origin, height)
        n = state.n_evaluated - 1
        result = FitResult(
            mixture=mixture_at(state.best),
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
        tail = jnp.arange(capacity) - n
        history = jnp.where(tail < 0, result.history, jnp.roll(polished.history, n))
        return dataclasses.replace(polished, history=history, n_iter=n + polished.n_iter)

    def _climb(
        self,
        origin: Parameters,
        objective: Callable[[Array], Callable[[Parameters], Array]],
        settings: Settings,
        capacity: int,
    ) -> _State:
        """Up to ``n_steps`` steps on ``objective(i)``, the objective of the i-th step."""
        optimizer = optax.with_extra_args_support(self.optimizer)
        memory = optimizer.init(origin)
        # A line search leaves the value and the gradient of where it ends.
        names = ("value", "grad") if self.batch_size is None else ()
        kept = bool(names) and all(_has(memory, name) for name in names)

        def turn(s: _State) -> _State:
            function = objective(s.n_evaluated)

            def loss(parameters: Parameters) -> Array:
                return -function(parameters)

            if kept:
                value, grad = optax.value_and_grad_from_state(loss)(s.parameters, state=s.memory)
            else:
                value, grad = jax.value_and_grad(loss)(s.parameters)
            first = s.n_evaluated == 0
            finite = jnp.isfinite(value)
            improved = finite & (first | (-value > s.height))
            if self.batch_size is not None:  # values of batches do not compare
                improved = finite
            best, height = _choose(improved, (s.parameters, -value), (s.best, s.height))
            test = (s.n_evaluated % _PATIENCE == 0) & (self.batch_size is None)
            status = jnp.where(test & (height - s.checked < settings.tol), Status.CONVERGED, -1)
            status = jnp.where(first, -1, status)
            status = jnp.where(finite, status, Status.DEGENERATE)
            status = jnp.where(first & ~finite, Status.NONFINITE, status)
            n_evaluated = s.n_evaluated + 1
            ended = (status < 0) & (n_evaluated > self.n_steps)
            updates, memory = optimizer.update(
                grad, s.memory, s.parameters, value=value, grad=grad, value_fn=loss
            )
            return _State(
                parameters=optax.apply_updates(s.parameters, updates),
                memory=memory,
                best=best,
                height=height,
                checked=jnp.where(test, height, s.checked),
                n_evaluated=n_evaluated,
                history=s.history.at[s.n_evaluated].set(-value),
                status=jnp.where(ended, Status.MAX_ITER, status).astype(jnp.int32),
            )

        dtype = origin[1].dtype
        low = jnp.asarray(-jnp.inf, dtype)
        state = _State(
            parameters=origin,
            memory=memory,
            best=origin,
            height=low,
            checked=low,
            n_evaluated=jnp.zeros((), jnp.int32),
            history=jnp.full(max(capacity, 1), jnp.nan, dtype),
            status=jnp.asarray(-1, jnp.int32),
        )
        return lax.while_loop(lambda s: s.status < 0, turn, state)


def _has(memory: Any, name: str) -> bool:
    return len(optax.tree.get_all_with_path(memory, name)) == 1


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _settle(state: _State, origin: Parameters, height: Callable[[Parameters], Array]) -> _State:
    """After batches: the last parameters or the first, whichever all samples say is better."""
    before, after = lax.map(height, jax.tree.map(lambda *p: jnp.stack(p), origin, state.best))
    better = after > before
    return dataclasses.replace(
        state,
        best=_choose(better, state.best, origin),
        height=jnp.where(better, after, before),
        history=state.history.at[state.n_evaluated - 1].set(after),
    )


def _chart(first: Mixture, floor: Array) -> tuple[Parameters, Callable[[Parameters], Mixture]]:
    """Where the climb starts, and the mixture that parameters stand for."""
    k, d = first.means.shape
    used = first.weights > 0
    logits = log_weights(first.weights)
    unit = lax.rsqrt(jnp.where(used, first.weights, 1))
    c = first.covariances
    matrices = c.ndim == 3
    low = jnp.diag(floor) if matrices else floor if c.shape[1] > 1 else jnp.mean(floor)
    above = clip(c, 2 * floor) - low
    factors = jnp.linalg.cholesky(above) if matrices else jnp.sqrt(above)
    wide = jnp.broadcast_to(factors, (k, d, d) if matrices else (k, d))
    share = (unit if len(c) == k else jnp.ones(1, c.dtype)).reshape(-1, *(1,) * (c.ndim - 1))

    def mixture_at(parameters: Parameters) -> Mixture:
        weights, means, inner = parameters
        inner = inner * share
        means = means * unit[:, None]
        if matrices:
            means = jnp.einsum("kij,kj->ki", wide, means, precision=_HIGHEST)
            diagonal = jnp.exp(jnp.diagonal(inner, axis1=1, axis2=2))
            inner = jnp.tril(inner, -1) + diagonal[..., None] * jnp.eye(d, dtype=inner.dtype)
            lower = jnp.einsum("kij,kjl->kil", factors, inner, precision=_HIGHEST)
            grown = jnp.einsum("kij,klj->kil", lower, lower, precision=_HIGHEST)
        else:
            means = wide * means
            grown = (factors * jnp.exp(inner)) ** 2
        return Mixture(
            weights=jax.nn.softmax(jnp.where(used, logits + weights * unit, -jnp.inf)),
            means=first.means + means,
            covariances=grown + low,
        )

    return jax.tree.map(jnp.zeros_like, (first.weights, first.means, c)), mixture_at


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
    return optax.lbfgs() if n_steps is None else optax.adam(optax.cosine_decay_schedule(0.05, n_steps))


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
    n_steps: int = 500,
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
    much as a step of EM (Fisher's identity). EM is the better choice for most data; this is for
    those who want minibatches, or an optimizer of their own.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened; integers or floating point.
        k: the number of components.
        key: a JAX PRNG key, for the start and the batches; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        init: where to start; see `fit`.
        covariance_type: "full", "tied", "diag" or "spherical".
        optimizer: an optax ``GradientTransformation``; None means L-BFGS, or Adam with steps that
            decay from 0.05 where there are batches. Programs are compiled for the object:
            make it once, not for every call.
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
