"""The time of one EM step against C by hand: of few and of many components, on all cores and one.

Each case has a process of its own, for the number of JAX's devices is settled when it starts.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.benchmarks import timing

_ROOT = Path(__file__).parents[2]
_STEPS = 40
KS = (3, 10)


def compare(repeats: int) -> dict[str, Any]:
    """Milliseconds per step of both, and their ratio; medians of ``repeats``, taken in turn."""
    found = {}
    for k in KS:
        for cores in ("all", "one"):
            command = [sys.executable, "-m", "experiments.benchmarks.limits", str(k), cores]
            done = subprocess.run(
                [*command, str(repeats)], cwd=_ROOT, capture_output=True, text=True, check=True
            )
            found[f"k = {k}, {cores}"] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(k: int, cores: str, repeats: int) -> dict[str, float | None]:
    import jgmm

    if cores == "all":
        jgmm.use_all_cores()
    from experiments.benchmarks import fits, peers, steps
    from experiments.benchmarks.photographs import photograph

    x = fits.pixels_of(photograph())
    run = peers.jgmm(x, steps.k_means_start(x, k, "full"), "full")
    run(1)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        ours.append(1e3 * timing.per_step({"jgmm": run}, {"jgmm": _STEPS}, 1)["jgmm"])
        by_hand = steps.yardstick(len(x), k, None if cores == "all" else 1)
        if by_hand is not None:
            theirs.append(by_hand)
    step = statistics.median(ours)
    limit = statistics.median(theirs) if theirs else None
    return {"jgmm": step, "C": limit, "ratio": step / limit if limit else None}


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
