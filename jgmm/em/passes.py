"""An E-step over data that come chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jgmm.data.compensated import Compensated
from jgmm.data.frame import Frame, standardize
from jgmm.data.programs import program
from jgmm.data.streams.feed import Feed, samples_of
from jgmm.em.statistics import totalled
from jgmm.mixture.mixture import Mixture


@program("size", "incomplete")
def _added(
    mixture: Mixture,
    frame: Frame,
    total: Compensated[Any],
    feed: Feed,
    size: int,
    incomplete: bool,
) -> Compensated[Any]:
    return _with(mixture, frame, total, feed, size, incomplete)


def _with(
    mixture: Mixture,
    frame: Frame,
    total: Compensated[Any] | None,
    feed: Feed,
    size: int,
    incomplete: bool,
) -> Compensated[Any]:
    """The sums of an E-step with those of one more chunk."""
    samples = standardize(samples_of(feed, mixture.means.dtype, size, incomplete), frame)
    return totalled(mixture, mixture.kernel(gaps=incomplete), samples, total)


# Traced once, and not again in each pass.
_traced = jax.jit(_with, static_argnums=(4, 5))


def pass_over(
    feeds: Iterable[Feed], mixture: Mixture, frame: Frame, size: int, incomplete: bool
) -> Any:
    """The sums of an E-step over all chunks, for `jgmm.em.statistics.concluded`.

    Args:
        feeds: the chunks, at least one.
        mixture: in the frame.
        frame: of the data.
        size: of the blocks that a chunk is cut into.
        incomplete: features that are NaN were not observed.
    """
    total: Any = None
    for feed in feeds:
        if total is None:
            total = nothing(mixture, frame, feed, size, incomplete)
        before, total = total, _added(mixture, frame, total, feed, size, incomplete)
        # No more than one chunk is under way, or they would pile up.
        jax.block_until_ready(before)
    return total


def nothing(mixture: Mixture, frame: Frame, feed: Feed, size: int, incomplete: bool) -> Any:
    """Sums over no chunks."""
    shapes = _traced.eval_shape(mixture, frame, None, feed, size, incomplete)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
