"""A few mixtures that compete: which of them go on, and what is tried from there.

The same code works on the host and under traces; see `jgmm.fitting.moves`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jgmm.data.arrays import module_of
from jgmm.fitting.moves import merges_of, move
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import choose

# Objectives nearer to each other than this, in nats per sample, are of the same optimum.
_APART = 2e-4
# S, and the variance from which on it is charged, both of that of the data.
_SPREAD, _NARROW = 3e-4, 1e-5
LARGEST_BATCH = 12  # of a program
# Pairs of components are compared by their covariances: so many numbers at most.
_MOST_COMPARED = 1 << 22


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is looked for a better optimum; static."""

    n_components: int  # K, at most
    thorough: bool  # the samples are so few that a step costs little
    n_starts: int = 6
    n_parents: int = 3  # those that go on from a round, at most

    @property
    def batch(self) -> int:
        """Mixtures in a round, those that go on and those that are tried."""
        return 10 if self.thorough else LARGEST_BATCH

    def rounds_for(self, k: int) -> int:
        """How many rounds of moves it takes for K components."""
        if k == 1:
            return 0
        return min(3 + k // 2 if self.thorough else max(2, k - 2), 8)

    @property
    def n_rounds(self) -> int:
        """How many rounds there are, for fewer components some of them idle."""
        return self.rounds_for(self.n_components)

    @property
    def n_stages(self) -> int:
        """Of which there is something to tell: a start, the runs from starts, and each round."""
        return 2 + self.n_rounds

    @property
    def from_starts(self) -> tuple[float, int]:
        """The tolerance of runs from starts, and steps at most."""
        return 1e-4, 50

    @property
    def after_moves(self) -> tuple[float, int]:
        """The tolerance of runs after a move, and steps at most."""
        return (1e-4, 16) if self.thorough else (1e-5, 8)


def comparable(k: int, d: int) -> bool:
    """Whether the covariances of all pairs of K components in D dimensions are few numbers."""
    return (k * d) ** 2 <= _MOST_COMPARED


def plan_for(k: int, d: int, *, thorough: bool) -> Plan | None:
    """For K components in D dimensions; None where there is nothing to look for, or too much."""
    if k == 1 or not comparable(k, d):
        return None
    return Plan(n_components=k, thorough=thorough)


def survivors(mixtures: Mixture, values: Any, most: int) -> tuple[Mixture, Any]:
    """The best of mixtures [L] that are different, in ``most`` places, and how many there are.

    Args:
        mixtures: with a leading axis.
        values: how good they are [L].
        most: places. Those that are left over have the best again.
    """
    xp = module_of(values)
    with np.errstate(invalid="ignore"):
        values = xp.where(xp.isfinite(values), values, -np.inf)
        order = xp.argsort(-values)
        ranked = values[order]
        new = xp.concatenate([xp.ones(1, bool), ranked[:-1] - ranked[1:] > _APART])
    new = new & (xp.isfinite(ranked) | (np.arange(len(ranked)) == 0))
    place = xp.cumsum(new) - 1
    first = xp.argmax(new & (place == np.arange(most)[:, None]), axis=1)
    chosen = order[first]
    return jax.tree.map(lambda leaf: leaf[chosen], mixtures), xp.minimum(
        xp.sum(new, dtype=np.int32), most
    )


def worth(mixtures: Mixture, values: Any, n: Any) -> Any:
    """How good mixtures are [L]: their objectives, less what narrow components are charged.

    The likelihood rises without end where a component shrinks onto equal samples, which is no
    better fit. A charge of tr(S Σ⁻¹) / 2 in all for each component keeps it from passing for one
    (Ciuperca, Ridolfi and Idier 2003; Chen and Tan 2009). It is that of one more sample in each,
    and means little where there are many; nothing is charged above a three-hundredth of the spread.

    Args:
        mixtures: in the frame, with a leading axis.
        values: their objectives [L], per sample.
        n: how many samples there are.
    """
    xp, family = module_of(mixtures.means), mixtures.family
    k, d = mixtures.means.shape[1:]
    dense = xp.stack([family.dense(covariances, k, d) for covariances in mixtures.covariances])
    usual = (mixtures.weights > 0) & xp.isfinite(dense).all(axis=(2, 3))
    dense = xp.where(usual[:, :, None, None], dense, np.eye(d, dtype=dense.dtype))
    variances = xp.maximum(xp.linalg.eigvalsh(dense), float(np.finfo(dense.dtype).tiny))
    dues = xp.maximum(_SPREAD / variances - _SPREAD / _NARROW, 0)
    charges = xp.where(usual, xp.sum(dues, axis=-1), 0)
    return values - xp.sum(charges, axis=1) / (2 * n)


def best_of(mixtures: Mixture, values: Any, n: Any) -> Any:
    """Which of mixtures [L] is worth most; the arguments are those of `worth`."""
    xp = module_of(mixtures.means)
    merits = worth(mixtures, values, n)
    return xp.argmax(xp.where(xp.isfinite(merits), merits, -np.inf))


def descendants(parents: Mixture, n: Any, lots: Any, floor: Any) -> Mixture:
    """Those that go on, and moves from them, one for each of the lots [L, 3].

    Args:
        parents: with a leading axis, of which the first ``n`` count.
        n: how many.
        lots: see `jgmm.fitting.moves.lots`; the first ``n`` are not used.
        floor: least variances [D].
    """
    if module_of(parents.means) is np:
        singly = [jax.tree.map(lambda leaf, i=i: leaf[i], parents) for i in range(n)]
        found = list(singly)
        with np.errstate(all="ignore"):  # a mixture that is none is judged by its objective
            merges = [merges_of(parent) for parent in singly]
            for place in range(n, len(lots)):
                found.append(move(singly[place % n], merges[place % n], floor, lots[place]))
        stacked: Mixture = jax.tree.map(lambda *leaf: np.stack(leaf), *found)
        return stacked

    def one(place: Any, lot: Any) -> Mixture:
        parent = jax.tree.map(lambda leaf: leaf[place % n], parents)
        return choose(place < n, parent, move(parent, merges_of(parent), floor, lot))

    places = np.arange(len(lots), dtype=np.int32)
    tried: Mixture = jax.vmap(one)(places, lots)
    return tried
