"""How time and memory grow with the number of samples, and what an import costs."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from experiments.benchmarks import timing


def seconds_per_sample_and_step(counts: list[int], k: int = 10) -> dict[int, float]:
    """Nanoseconds per sample and EM step for each number of samples, D = 3, full."""
    import jax.numpy as jnp

    import jgmm

    out = {}
    rng = np.random.default_rng(0)
    centers = rng.uniform(size=(k, 3)).astype(np.float32)
    for n in counts:
        x = np.tile(centers, (n // k + 1, 1))[:n]
        x += 0.1 * rng.standard_normal((n, 3), np.float32)
        init = jgmm.Mixture(  # far enough from where it converges for all the steps
            jnp.full(k, 1 / k, jnp.float32),
            jnp.asarray(centers[:, ::-1]),
            jnp.full((k, 3), 0.1, jnp.float32),
        )

        def run(steps: int, x: Any = x, init: Any = init) -> object:
            result = jgmm.fit(
                x, k, init=init, covariance_type="diag", accelerate=False, tol=0, max_iter=steps
            )
            return timing.all_steps(result, steps)

        run(1)
        steps = max(2, min(40, int(3e7 / n)))
        times = [timing.per_step({"jgmm": run}, {"jgmm": steps}, 1)["jgmm"] for _ in range(3)]
        out[n] = statistics.median(times) / n * 1e9
    return out


_MEMORY = """
import numpy as np, jax, jgmm, resource
x = np.random.default_rng(0).standard_normal(({n}, 3), np.float32)
jax.block_until_ready(jgmm.fit(x, {k}, max_iter=3, tol=0.0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(n: int = 10_000_000, k: int = 32) -> float:
    """Peak resident memory, in GB, of a process that fits ``n`` samples of 3 features."""
    code = _MEMORY.format(n=n, k=k)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return int(out.stdout.split()[-1]) * unit / 1e9


def import_seconds(repeats: int = 5) -> dict[str, float]:
    """User CPU seconds to import jax, and jgmm."""

    def cpu(module: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return {m: statistics.median(cpu(m) for _ in range(repeats)) for m in ("jax", "jgmm")}
