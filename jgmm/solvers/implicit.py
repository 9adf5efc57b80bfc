"""The derivative of a fit, by the implicit function theorem at the fixed point of EM.

A converged fit θ is a fixed point θ = M(θ, x) of the EM map, whatever way led there. So its
derivative by anything x that M depends on solves (I - ∂M/∂θ) dθ = ∂M/∂x dx. The equations are
solved without the matrix, by a Krylov method whose every product is one pass over the data;
nothing is kept of the iterations of the fit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jgmm._struct import amend, struct
from jgmm.data.frame import Frame, measure
from jgmm.data.products import along, dot
from jgmm.data.programs import program
from jgmm.data.samples import Rows, block_size, make_samples
from jgmm.em import prior as priors
from jgmm.em.prior import Prior
from jgmm.em.problem import Problem
from jgmm.families.family import Family
from jgmm.families.floor import Floor
from jgmm.mixture.mixture import Mixture, standardize, unstandardize

# What a Krylov method carries: solution, residual, directions, their images, and how many.
_Search = tuple[Array, Array, Array, Array, Array]
_KRYLOV = 128  # directions kept
_MOST = 1000  # passes over the data
_NEAR = 0.5  # the longest step of Newton's method, in standard deviations of a single sample


@struct
class Given:
    """What the fixed point depends on, in the units of the data."""

    rows: Rows
    floor: Array  # [D], relative to the variance of the data
    prior: Prior | None
    degrees_of_freedom: Array | None = None  # [], where they are fixed

    def shaped(self, point: Mixture) -> Mixture:
        """A mixture with the degrees of freedom, if they are given."""
        if self.degrees_of_freedom is None:
            return point
        dof = jnp.broadcast_to(self.degrees_of_freedom, point.weights.shape)
        return amend(point, degrees_of_freedom=dof)


@program("incomplete")
def remainder(mixture: Mixture, given: Given, incomplete: bool) -> Mixture:
    """What a fit is short of the fixed point, in the frame, as Newton's method sees it.

    It is the root of the tolerance of the fit; the equations are those of the derivative.
    """
    size = _block_size(mixture)
    frame = _measured(given, mixture.family, size, incomplete)
    problem = _problem(given, frame, frame.scale, mixture.family, size, incomplete)
    point = standardize(mixture, frame)
    following, pull = jax.linearize(lambda point: problem.step(point)[0], point)
    return _solve(point, pull, jax.tree.map(jnp.subtract, following, point))


def attach(
    mixture: Mixture,
    log_likelihood: Array,
    rest: Mixture | None,
    given: Given,
    incomplete: bool,
) -> tuple[Mixture, Array]:
    """A fitted mixture and its log-likelihood as functions of what was given.

    Args:
        mixture: the fitted one.
        log_likelihood: its own.
        rest: what `remainder` says; None: it is asked where derivatives are taken.
        given: what was given.
        incomplete: features that are NaN were not observed.
    """
    return _fixed_point(incomplete, mixture, log_likelihood, rest, given)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fixed_point(
    incomplete: bool,
    mixture: Mixture,
    log_likelihood: Array,
    rest: Mixture | None,
    given: Given,
) -> tuple[Mixture, Array]:
    return mixture, log_likelihood


@_fixed_point.defjvp
@program("incomplete")  # forwards, and outside of programs, one of its own, which compiles faster
def _fixed_point_jvp(incomplete: bool, primals: Any, tangents: Any) -> Any:
    rest, given, change = primals[2], primals[3], tangents[3]
    # By the rule itself, so that it has derivatives too.
    fitted, log_likelihood = _fixed_point(incomplete, *primals)
    if rest is None:
        rest = remainder(fitted, given, incomplete)
    family, size = fitted.family, _block_size(fitted)

    def measured(given: Given) -> Frame:
        return _measured(given, family, size, incomplete)

    here, moved = jax.jvp(measured, (given,), (change,))
    # The frame stays where it is, for all that depends on the scale of the data is the floor.
    frame = lax.stop_gradient(here)

    def step(point: Mixture, given: Given, scale: Array) -> tuple[Mixture, Array]:
        """The EM successor of ``point``, and its log-likelihood."""
        problem = _problem(given, frame, scale, family, size, incomplete)
        point = given.shaped(point)
        following, value = problem.step(point)
        return following, problem.log_likelihood(point, value.rounded())

    x, dx = (given, here.scale), (change, moved.scale)
    point = _nearer(standardize(fitted, frame), lax.stop_gradient(rest))
    _, (push, gain) = jax.jvp(functools.partial(step, point), x, dx)
    _, pull = jax.linearize(lambda point: step(point, *x), point)
    shift = _solve(point, lambda tangent: pull(tangent)[0], push)
    back = functools.partial(unstandardize, frame=frame)
    _, change_of_mixture = jax.jvp(back, (point,), (shift,))
    if given.degrees_of_freedom is not None:
        change_of_mixture = change.shaped(change_of_mixture)
    return (fitted, log_likelihood), (change_of_mixture, gain + pull(shift)[1])


def _block_size(mixture: Mixture) -> int:
    k, d = mixture.means.shape
    return block_size(2 * k, d, mixture.means.dtype)  # values and tangents


def _measured(given: Given, family: Family, size: int, incomplete: bool) -> Frame:
    samples = make_samples(given.rows, size, incomplete=incomplete)
    return measure(samples, isotropic=family.isotropic)


def _problem(
    given: Given, frame: Frame, scale: Array, family: Family, size: int, incomplete: bool
) -> Problem:
    """The problem in a frame that stays, while the floor follows the ``scale`` of the data.

    Unlike in a fit, samples of weight 0 stay where they are: they have derivatives.
    """
    features = (given.rows.features - frame.center) / frame.scale
    rows = dataclasses.replace(given.rows, features=features)
    return Problem(
        samples=make_samples(rows, size, incomplete=incomplete),
        weight=jnp.sum(rows.weights),
        frame=frame,
        floor=Floor(variances=given.floor * (scale / frame.scale) ** 2),
        prior=None if given.prior is None else priors.standardize(given.prior, frame),
        family=family,
    )


def _nearer(point: Mixture, rest: Mixture) -> Mixture:
    """``point`` + ``rest``; ``point`` where that is no mixture, or too far to be believed."""
    sizes = _rescaled(point, rest, inverse=True)
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(sizes)))
    there = jax.tree.map(jnp.add, point, rest)
    inverse, _ = there.family.inverse_root(there.covariances, there.n_features)
    fine = (length < _NEAR) & jnp.all(jnp.isfinite(inverse)) & jnp.all(there.weights >= 0)
    if there.degrees_of_freedom is not None:
        fine &= jnp.all(there.degrees_of_freedom > 0)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), there, point)


def _solve(point: Mixture, pull: Callable[[Mixture], Mixture], push: Mixture) -> Mixture:
    """The change of the fixed point: shift = pull(shift) + push; NaN where there is none.

    Unused components do not change, nor how covariances are stored where there are several ways:
    along those the equations say nothing.
    """
    used, family = point.weights > 0, point.family

    def whiten(tangent: Mixture) -> Mixture:
        return _rescaled(point, tangent, inverse=True)

    def masked(tangent: Mixture) -> Mixture:
        change = family.horizontal(point.covariances, tangent.covariances)
        dof = tangent.degrees_of_freedom
        if dof is not None:
            dof = jnp.where(used & point.distribution.estimated, dof, 0)
        return amend(
            tangent,
            weights=jnp.where(used, tangent.weights, 0),
            means=jnp.where(used[:, None], tangent.means, 0),
            covariances=family.select(used, change, jnp.zeros_like(change)),
            degrees_of_freedom=dof,
        )

    right, unravel = ravel_pytree(whiten(masked(push)))

    def remainder(vector: Array) -> Array:
        shift = masked(_rescaled(point, unravel(vector), inverse=False))
        return vector - ravel_pytree(whiten(masked(pull(shift))))[0]

    shift = lax.custom_linear_solve(remainder, right, solve=_residuals, transpose_solve=_residuals)
    return masked(_rescaled(point, unravel(shift), inverse=False))


def _residuals(matvec: Callable[[Array], Array], right: Array) -> Array:
    """The solution of matvec(x) = right by conjugate residuals; NaN where they stay large.

    Generalised to operators that are not quite symmetric (Eisenstat, Elman and Schultz 1983); in
    exact arithmetic it is GMRES (Saad and Schultz 1986). It has one product to compile.
    """
    eps = float(np.finfo(right.dtype).eps)
    size = min(len(right), _KRYLOV)
    goal = eps**0.75 * jnp.linalg.norm(right)

    def turn(state: _Search) -> _Search:
        found, rest, ways, images, n = state
        way, image = rest, matvec(rest)
        for _ in range(2):  # twice is enough
            overlap = dot(images, image)
            way = way - dot(overlap, ways)
            image = image - dot(overlap, images)
        scale = jnp.linalg.norm(image)
        scale = 1 / jnp.where(scale > 0, scale, 1)
        way, image = way * scale, image * scale
        length = dot(image, rest)
        slot = n % size  # the oldest makes room
        return (
            found + length * way,
            rest - length * image,
            ways.at[slot].set(way),
            images.at[slot].set(image),
            n + 1,
        )

    none = jnp.zeros((size, len(right)), right.dtype)
    state = (jnp.zeros_like(right), right, none, none, jnp.zeros((), jnp.int32))
    found, rest, *_ = lax.while_loop(
        lambda state: (jnp.linalg.norm(state[1]) > goal) & (state[4] < _MOST), turn, state
    )
    solved = jnp.linalg.norm(rest) <= eps**0.375 * jnp.linalg.norm(right)
    return jnp.where(solved, found, jnp.nan)


def _rescaled(point: Mixture, tangent: Mixture, inverse: bool) -> Mixture:
    """A change of a mixture in units of what one complete sample tells of it; or back.

    Where the complete-data information is the identity, ∂M/∂θ is symmetric with eigenvalues from
    0 to 1 (but for priors and floors), and lengths mean something to a Krylov method.
    """
    family, d = point.family, point.n_features
    weights = jnp.where(point.weights > 0, point.weights, 1)
    masses = family.masses(point.weights)
    masses = jnp.where(masses > 0, masses, 1)
    size = along(jnp.sqrt(masses), point.covariances)
    length = jnp.sqrt(weights)
    dof = _rescaled_dof(point, tangent.degrees_of_freedom, weights, inverse)
    if inverse:
        form, _ = family.inverse_root(point.covariances, d)
        spread = family.isometric(form, tangent.covariances, d) * size
        shifts = family.apply(form, tangent.means) * length[:, None]
        return amend(
            tangent,
            weights=tangent.weights / length,
            means=shifts,
            covariances=spread,
            degrees_of_freedom=dof,
        )
    form = family.root(point.covariances)
    spread = family.from_isometric(form, tangent.covariances / size, d)
    shifts = family.apply(form, tangent.means / length[:, None])
    return amend(
        tangent,
        weights=tangent.weights * length,
        means=shifts,
        covariances=spread,
        degrees_of_freedom=dof,
    )


def _rescaled_dof(
    point: Mixture, change: Array | None, weights: Array, inverse: bool
) -> Array | None:
    """The same of degrees of freedom alone."""
    dof = point.degrees_of_freedom
    told = point.distribution.information(dof)
    if change is None or dof is None or told is None:
        return change
    width = jnp.sqrt(weights * told) / dof
    return change * width if inverse else change / width
