"""The loop of EM: steps and extrapolations until the likelihood stops rising."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm._status import Status, raise_for_status
from jgmm._struct import struct
from jgmm.families.covariance import clip
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.squarem import extrapolate

T = TypeVar("T")
# A mixture to its EM successor, and the mixture's own objective as head and tail.
EmMap = Callable[[Mixture], tuple[Mixture, tuple[Array, Array]]]


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
    em: EmMap,
    settings: Settings,
    capacity: int,
    accelerate: bool,
) -> FitResult:
    """EM from ``mixture``, in the frame of `_frame`, until it gains less than tol.

    Every turn of the loop is one pass over the data: ``em`` evaluates the objective at a point
    and makes the next one by an EM step. SQUAREM proposes an extrapolated point after every second
    step; one whose objective is below the best so far is dropped.
    """
    dtype = mixture.means.dtype
    capacity = max(capacity, 1)

    def turn(s: _State) -> _State:
        following, (head, tail) = em(s.point)
        first = s.n_evaluated == 0
        finite = jnp.isfinite(head)
        gain = (head - s.head) + (tail - s.tail)
        improved = finite & (first | (gain > 0))
        best, head, tail = choose(improved, (s.point, head, tail), (s.best, s.head, s.tail))

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


def stay(mixture: Mixture, em: EmMap) -> FitResult:
    """``mixture`` as it is, with its objective: what `run` gives for no steps, compiled sooner."""
    _, (head, _) = em(mixture)
    status = jnp.where(jnp.isfinite(head), Status.MAX_ITER, Status.NONFINITE)
    return FitResult(
        mixture=mixture,
        log_likelihood=head,
        history=head[None],
        n_iter=jnp.zeros((), jnp.int32),
        status=status.astype(jnp.int32),
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
            start=choose(keep, point, state.start),
            point=choose(keep, state.point, state.fallback),
            longest=jnp.where(keep, state.longest, jnp.maximum(state.longest / 4, 1)),
            phase=jnp.where(keep, 1, 0).astype(jnp.int32),
        )

    return lax.cond(state.phase == 1, propose, begin, state)


def choose(condition: Array, yes: T, no: T) -> T:
    """One of two trees of arrays."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
