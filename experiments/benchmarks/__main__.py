"""Run the benchmarks: ``python -m experiments.benchmarks [CASE ...] [--json FILE]``.

Needs the extra ``bench``. Without CASE all are run, which takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import jgmm

jgmm.use_all_cores()

from experiments.benchmarks import (  # noqa: E402
    derivatives,
    exchange,
    families,
    family_peers,
    figure,
    first_call,
    fits,
    limits,
    many,
    optima,
    precision,
    scale,
    scaling,
    steps,
    variational,
)
from experiments.benchmarks.photographs import (  # noqa: E402
    DATA,
    PHOTOGRAPH,
    photograph,
    wide_samples,
)


def partitioned(image: Any, k: int) -> tuple[Any, Any]:
    """The pixels of an image, and their clusters."""
    x = fits.pixels_of(image)
    return x, np.asarray(jgmm.kmeans(x, k).labels)


CASES: dict[str, Callable[[int], Any]] = {
    "step": lambda n: steps.compare(fits.pixels_of(photograph()), 10, "full", n),
    "limits": limits.compare,
    "wide-full": lambda n: steps.compare(
        wide_samples(), 32, "full", n, ("ott-jax", "gmmx", "tgmm")
    ),
    "wide-diag": lambda n: steps.compare(wide_samples(), 32, "diag", n, ("ott-jax",)),
    "families": lambda n: families.compare(fits.pixels_of(photograph()), 10, n),
    "bands": lambda n: families.compare(families.bands(), 10, n, families.MANY_BANDS, 5),
    "family-peers": lambda n: family_peers.compare(*partitioned(photograph(), 10), n),
    "variational": lambda n: variational.compare(photograph(), 10, n),
    "fit": lambda n: fits.fit_to_convergence(photograph(), 10, n),
    "large-fit": lambda n: fits.large_fit(10, max(1, n // 2)),
    "sweep": lambda n: fits.sweep(photograph(), list(range(2, 13)), 8, [3, 8]),
    "k-means": lambda n: fits.k_means(photograph(), 10, n),
    "gradient": lambda n: derivatives.gradient(fits.pixels_of(photograph()), 5, n),
    "scale": lambda n: scale.seconds_per_sample_and_step([10**5, 10**6, 10**7, 10**8]),
    "precision": lambda n: precision.table(PHOTOGRAPH.parent, [5, 10, 20], 6),
    "first-call": lambda n: first_call.compare(n),
    "many-fits": lambda n: many.compare(200 * n),
    "optima": lambda n: optima.compare(DATA, n),
    "scaling": lambda n: scaling.weak(n),
    "disk": lambda n: scaling.disk(),
    "exchange": lambda n: exchange.table(),
    "memory": lambda n: scale.peak_memory(),
    "import": lambda n: scale.import_seconds(),
}


def main() -> None:
    """Run the cases asked for and print, and maybe write, what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, default=5, help="timings of each (default: 5)")
    parser.add_argument("--data", type=Path, help="a folder of photographs for optima")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--figure", type=Path, help="draw the times per step to this PNG")
    options = parser.parse_args()
    if unknown := set(options.cases) - CASES.keys():
        parser.error(f"expected cases among {', '.join(CASES)}; got {', '.join(sorted(unknown))}")
    if options.data:
        CASES["optima"] = lambda n: optima.compare(options.data, n)
    packages = ("jax", "numpy", "scikit-learn", "gmmx", "tgmm", "ott-jax", "torch")
    results: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    results["versions"] = {name: _version(name) for name in packages}
    for name in options.cases or CASES:
        results[name] = CASES[name](options.repeats)
        print(f"{name}\n{json.dumps(results[name], indent=2)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if options.figure:
        tables = {n: r for n, r in results.items() if isinstance(r, dict) and "ms_per_step" in r}
        figure.draw(tables, options.figure)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
