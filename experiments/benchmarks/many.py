"""Many different fits in one process: does it live, and how many memory maps does it hold?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.benchmarks.first_call import memory_maps

_ROOT = Path(__file__).parents[2]
FAMILIES = ("full", "tied", "diag", "spherical")
SHAPES = (
    (200, 1), (200, 2), (500, 3), (1_000, 2), (1_000, 4),
    (2_000, 3), (3_000, 5), (5_000, 3), (10_000, 2), (20_000, 3),
)  # fmt: skip


def compare(n_fits: int) -> dict[str, Any]:
    """So many single starts in one process: k from 1 to 100, four families, ten shapes of data.

    Returns:
        Fits, failures, seconds, and the most memory maps that were held after any of the fits.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.many", str(n_fits)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {"fits": 0}
    return {**found, "exit_status": done.returncode}


def _run(n_fits: int) -> None:
    """Say after each tenth fit how it stands."""
    import numpy as np

    import jgmm

    rng = np.random.default_rng(0)
    data = [rng.normal(size=(12, d))[rng.integers(0, 12, n)] + rng.normal(scale=0.2, size=(n, d))
            for n, d in SHAPES]  # fmt: skip
    most, bad, start = 0, 0, time.perf_counter()
    for i in range(n_fits):  # neighbours differ in all
        k, x = 1 + (37 * i + i // 100) % 100, data[i // 4 % len(SHAPES)]
        # The search takes minutes at k = 100.
        result = jgmm.fit(x, k, covariance_type=FAMILIES[i % 4], search="none")
        bad += not np.isfinite(float(result.log_likelihood))
        most = max(most, memory_maps())
        if (i + 1) % 10 == 0 or i + 1 == n_fits:
            seconds = round(time.perf_counter() - start, 1)
            row = {"fits": i + 1, "without_likelihood": bad, "seconds": seconds, "most_maps": most}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    _run(int(sys.argv[1]))
