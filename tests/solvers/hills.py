"""A toy for the loop, which knows nothing of mixtures: hills, and ways up."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._struct import struct
from jgmm.data.compensated import Compensated, constant
from jgmm.data.programs import program
from jgmm.solvers.iterate import Run, Solver, Step, StoppingRule, iterate
from jgmm.solvers.stopping import Gain


@struct
class Hill:
    """top - Σ curvature (x - peak)² / 2, and NaN beyond a cliff."""

    peak: Array  # [D]
    curvature: Array  # [D]
    cliff: Array  # [], where x[0] may not be above

    def height(self, x: Array) -> Array:
        height = -jnp.sum(self.curvature * (x - self.peak) ** 2) / 2
        return jnp.where(x[0] > self.cliff, jnp.nan, height)

    def evaluate(self, x: Array) -> Compensated[Array]:
        return constant(self.height(x))


# NumPy, because JAX has no float64 before the first test.
PEAK = np.array([1.0, -2.0])
HILL: Any = Hill(peak=PEAK, curvature=np.array([1.0, 0.5]), cliff=np.float64(np.inf))
START = np.array([4.0, 3.0])
CAPACITY = 64


@dataclasses.dataclass(frozen=True)
class Ascent:
    """Steps along the gradient, tested each ``patience`` of them."""

    rate: float = 0.5
    patience: int = 1
    guesses: bool = False
    keeps_best: bool = True
    never_falls: bool = True
    offset: float = 0.0  # of the values, as those of a batch are off

    def init(self, problem: Hill, start: Array, key: Array) -> tuple[Array, Array]:
        return start, jnp.zeros((), jnp.int32)

    def step(self, problem: Hill, state: Any) -> tuple[Any, Step[Array]]:
        x, n = state
        step = Step(
            point=x,
            value=constant(problem.height(x) + self.offset),
            testable=n % self.patience == 0,
            guess=jnp.asarray(self.guesses),
        )
        slope = problem.curvature * (problem.peak - x)
        return (x + self.rate * slope, n + 1), step


def gain(tol: float = 1e-6, max_iter: int = 40) -> Any:
    return Gain(tol=np.float64(tol), max_iter=np.int32(max_iter))


@program("solver", "capacity")
def iterated(
    solver: Solver,
    stop: StoppingRule,
    hill: Hill = HILL,
    start: Any = START,
    capacity: int = CAPACITY,
) -> Run[Any]:
    return iterate(hill, solver, start, stop, capacity, jax.random.key(0))


def where(n: int, rate: float = 0.5) -> np.ndarray:
    """After n steps along the gradient."""
    return PEAK + (1 - rate * HILL.curvature) ** n * (START - PEAK)
