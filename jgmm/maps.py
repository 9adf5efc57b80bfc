"""The EM map that a fit iterates: plain, or with what is asked for beyond the plain."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm import partial as partial_data
from jgmm import prior as priors
from jgmm._fold import Blocks
from jgmm.em import expectation, maximisation
from jgmm.loop import EmMap
from jgmm.mixture import Mixture
from jgmm.prior import Prior


def em_map(
    blocks: Blocks, floor: Array, family: str, prior: Prior | None, known: tuple[str, ...]
) -> EmMap:
    """EM over the blocks, with what is asked for beyond the plain."""

    def em(point: Mixture) -> tuple[Mixture, tuple[Array, Array]]:
        if known:
            missing, labelled = "missing" in known, "labels" in known
            stats, (head, tail) = partial_data.expectation(
                point, blocks, missing=missing, labelled=labelled
            )
        else:
            stats, (head, tail) = expectation(point, blocks)
        if prior is None:
            return maximisation(point, stats, family, floor), (head, tail)
        bonus = priors.log_density(prior, point, family) / jnp.sum(stats.counts)
        whole = head + bonus
        rest = tail + jnp.where(
            abs(head) >= abs(bonus), (head - whole) + bonus, (bonus - whole) + head
        )
        return priors.maximisation(point, stats, family, floor, prior), (whole, rest)

    return em
