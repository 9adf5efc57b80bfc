"""Plain EM as a solver."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array

from jgmm.em.problem import Problem
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Step


@dataclasses.dataclass(frozen=True)
class Em:
    """The EM algorithm (Dempster, Laird and Rubin 1977).

    Its state is the mixture to be evaluated next.
    """

    @property
    def keeps_best(self) -> bool:
        """Likelihoods compare."""
        return True

    @property
    def never_falls(self) -> bool:
        """The law of EM."""
        return True

    def init(self, problem: Problem, start: Mixture, key: Array) -> Mixture:
        """The start."""
        return start

    def ahead(self, state: Mixture) -> Mixture:
        """The state itself."""
        return state

    def step(self, problem: Problem, state: Mixture) -> tuple[Mixture, Step[Mixture]]:
        """One E-step and one M-step."""
        following, value = problem.step(state)
        yes = jnp.asarray(True)
        return following, Step(point=state, value=value, testable=yes, guess=~yes)


class LastOfEm(Em):
    """Plain EM of which the last mixture counts, as a ridge may make the likelihood fall."""

    @property
    def keeps_best(self) -> bool:
        """Not even a worse one is dropped."""
        return False

    @property
    def never_falls(self) -> bool:
        """A ridge breaks the law."""
        return False
