"""What a pass over the data does with a block of samples, whatever the family.

Samples are whitened, y = L⁻¹(x - μ) for each component: of order one whatever the offset and
the scale of the data. The energy -|y|²/2 says how probable each is, and moments of y are what an
M-step needs, so that nothing cancels.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import struct
from jgmm.data.products import dot, einsum, with_one
from jgmm.data.samples import Block
from jgmm.families.natural import Natural, powers

if TYPE_CHECKING:
    from jgmm.families.family import Family

T = TypeVar("T")
Sums = tuple[Array, ...]
# Counts [K], Σr·y [K, D], and Σr·y·yᵀ as spreads.
Moments = tuple[Array, Array, Array]


@struct
class Whitened:
    """A block of S samples in the frame of each component."""

    energy: Array  # -|y|²/2 [K, S]
    half_log_det: Array  # [K, 1], or [K, S] of what was observed
    n_observed: int | Array  # D, or how many features were observed [S]
    y: Array | None = None  # [D, K, S]; with gaps what is expected of it
    spread: Array | None = None  # with gaps, the covariance of y, as spreads


class Kernel(abc.ABC):
    """How samples are whitened, and their moments summed up."""

    @abc.abstractmethod
    def evaluate(self, block: Block) -> Whitened:
        """The samples in the frame of each component."""

    @abc.abstractmethod
    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """What `moments` needs of a block, where y counts by u and spreads by r [K, S]."""

    @abc.abstractmethod
    def moments(self, total: Sums) -> Moments:
        """The moments, from the total of `sums` over blocks."""

    def accumulate(
        self,
        block: Block,
        respond: Callable[[Whitened], tuple[Array, T]],
        reweigh: Callable[[Array, Whitened], Array] = lambda r, whitened: r,
    ) -> tuple[Sums, T]:
        """The sums, with responsibilities that ``respond`` gives, and what else it says."""
        whitened = self.evaluate(block)
        r, more = respond(whitened)
        return self.sums(block, whitened, reweigh(r, whitened), r), more


@struct
class MatrixKernel(Kernel):
    """All components by one matrix product."""

    family: Family
    inverse_roots: Array  # [K, ...]
    means: Array  # [K, D]
    half_log_dets: Array  # [K]
    matrix: Array  # [D K, D + 1], (1, x) to y

    def evaluate(self, block: Block) -> Whitened:
        """One product for all components."""
        k, d = self.means.shape
        y = dot(self.matrix, with_one(block.features)).reshape(d, k, -1)
        return whitened_of(y, self.half_log_dets)

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """Counts, and Σr·y·(1, x)ᵀ for all components by one product.

        Only y is in the frame of the component; that leaves one factor of the offset to cancel
        where two would do harm.
        """
        assert whitened.y is not None
        x = block.features
        counts = dot(u, jnp.ones(x.shape[1], u.dtype))
        uy = (u * whitened.y).reshape(-1, x.shape[1])
        return counts, dot(uy, with_one(x).T)

    def moments(self, total: Sums) -> Moments:
        """From Σr·y·xᵀ to Σr·y·(x - μ)ᵀ to Σr·y·yᵀ."""
        k, d = self.means.shape
        counts, products = total
        table = products.reshape(d, k, d + 1).swapaxes(0, 1)
        shifts = table[:, :, 0]
        mixed = table[:, :, 1:] - shifts[:, :, None] * self.means[:, None, :]
        return counts, shifts, self.family.whitened_scatter(mixed, self.inverse_roots)


@struct
class ElementwiseKernel(Kernel):
    """Features that are independent within components, one by one."""

    inverse_roots: Array  # 1/σ [K, D]
    means: Array  # [K, D]
    half_log_dets: Array  # [K]
    natural: Natural

    def evaluate(self, block: Block) -> Whitened:
        """Feature by feature."""
        gaps = block.features[:, None, :] - self.means.T[:, :, None]
        return whitened_of(gaps * self.inverse_roots.T[:, :, None], self.half_log_dets)

    def sums(self, block: Block, whitened: Whitened, u: Array, r: Array) -> Sums:
        """Counts, Σr·y and Σr·y²."""
        y = whitened.y
        assert y is not None
        size = y.shape[-1]
        ones = jnp.ones(size, y.dtype)
        return (
            dot(u, ones),
            dot((u * y).reshape(-1, size), ones).reshape(len(y), -1),
            dot((u * y**2).reshape(-1, size), ones).reshape(len(y), -1),
        )

    def moments(self, total: Sums) -> Moments:
        """As they are."""
        counts, first, squares = total
        return counts, first.T, squares.T

    def accumulate(
        self,
        block: Block,
        respond: Callable[[Whitened], tuple[Array, T]],
        reweigh: Callable[[Array, Whitened], Array] = lambda r, whitened: r,
    ) -> tuple[Sums, T]:
        """In natural parameters, where nothing large cancels."""

        def quick(block: Block) -> tuple[Sums, T]:
            features = powers(block.features)
            energy = dot(self.natural.coefficients, features)
            whitened = Whitened(
                energy=energy,
                half_log_det=self.half_log_dets[:, None],
                n_observed=len(block.features),
            )
            r, more = respond(whitened)
            u = reweigh(r, whitened)
            return self.natural.sums(features, u, self.means, self.inverse_roots), more

        def careful(block: Block) -> tuple[Sums, T]:
            return Kernel.accumulate(self, block, respond, reweigh)

        result: tuple[Sums, T] = lax.cond(self.natural.benign, quick, careful, block)
        return result


def whitened_of(y: Array, half_log_dets: Array) -> Whitened:
    """Complete samples y [D, K, S]."""
    # Spelled out, because XLA's sum over a leading axis takes half as long again.
    squares = [row * row for row in y] if len(y) <= 64 else [jnp.sum(y**2, axis=0)]
    return Whitened(
        energy=-0.5 * sum(squares[1:], start=squares[0]),
        half_log_det=half_log_dets[:, None],
        n_observed=len(y),
        y=y,
    )


def matrix_kernel(family: Family, inverse: Array, full: Array, means: Array, logs: Array) -> Kernel:
    """The kernel of inverse roots [K, ...], which ``full`` spells out as matrices [K, D, D]."""
    k, d = means.shape
    offsets = einsum("kij,kj->ki", full, means)
    rows = jnp.concatenate([-offsets[:, :, None], full], axis=2)
    return MatrixKernel(
        family=family,
        inverse_roots=inverse,
        means=means,
        half_log_dets=logs,
        matrix=rows.swapaxes(0, 1).reshape(-1, d + 1),
    )
