"""How many components are left in use, against how many there are, and what BIC chooses.

    python -m experiments.in_use [--seeds N]

Samples of two features are drawn from 4 Gaussians of random shape, whose centers are some distance
apart; fits may take up to 10. VARIATIONAL.md has the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm

TRUE, MOST = 4, 10
NdArray = npt.NDArray[Any]
PRIORS = {
    "process, 1/k": {},
    "process, 1e-3": {"weight_concentration_prior": 1e-3},
    "Dirichlet, 1/k": {"weight_concentration_prior_type": "dirichlet_distribution"},
    "Dirichlet, 1e-3": {
        "weight_concentration_prior_type": "dirichlet_distribution",
        "weight_concentration_prior": 1e-3,
    },
}


def samples(n: int, distance: float, seed: int) -> NdArray:
    """Samples [n, 2], float32, of components whose centers are ``distance`` deviations apart."""
    rng = np.random.default_rng(seed)
    corners = distance * np.array([[0, 0], [1, 0], [0.5, 0.866], [1.5, 0.866]])
    factors = np.linalg.qr(rng.normal(size=(TRUE, 2, 2)))[0] * rng.uniform(0.5, 1, (TRUE, 1, 2))
    labels = rng.choice(TRUE, size=n, p=[0.4, 0.3, 0.2, 0.1])
    x = corners[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n, 2)))
    found: NdArray = x.astype(np.float32)
    return found


def variational(x: NdArray, options: dict[str, Any]) -> int:
    """The number in use, of the best of 3 starts."""
    found = jgmm.fit_variational(x, MOST, n_restarts=3, max_iter=3000, **options)
    return int(found.n_in_use)


def bic(x: NdArray) -> int:
    """The number that BIC chooses."""
    ks = range(1, MOST + 1)
    return int(jgmm.sweep(x, ks).best("bic").mixture.n_components)


def study(n: int, distance: float, seeds: int) -> dict[str, list[int]]:
    """What each finds in ``seeds`` draws."""
    methods: dict[str, Callable[[NdArray], int]] = {
        name: lambda x, options=options: variational(x, options)  # type: ignore[misc]
        for name, options in PRIORS.items()
    }
    methods["BIC"] = bic
    draws = [samples(n, distance, seed) for seed in range(seeds)]
    return {name: [method(x) for x in draws] for name, method in methods.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each number of samples and distance: how often right, and the mean."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args(arguments).seeds
    print(f"| samples | distance | {' | '.join([*PRIORS, 'BIC'])} |")
    print("| --- " * (len(PRIORS) + 3) + "|")
    for n in (200, 1000, 10_000):
        for distance in (3.0, 6.0):
            found = study(n, distance, seeds)
            cells = [f"{v.count(TRUE)} ({np.mean(v):.1f})" for v in found.values()]
            print(f"| {n:,} | {distance:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
