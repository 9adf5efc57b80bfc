"""The cost of a derivative through a fit: implicit, and with the steps unrolled."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks import timing


def gradient(x: npt.NDArray[Any], k: int, repeats: int) -> dict[str, Any]:
    """Seconds and temporary megabytes of a fit, and of its gradients by pixels and weights.

    Unrolled are as many plain steps of EM as the fit takes, from the same start, each of which
    keeps no more of the data than its blocks need in reverse. Errors are the largest of the
    gradients by pixels, relative to the largest gradient, against a fit in float64 to 1e-13.
    """
    import jax
    import jax.numpy as jnp

    import jgmm

    pixels, weights = jnp.asarray(x), jnp.ones(len(x), x.dtype)
    start = jgmm.fit(x, k, max_iter=0, short_runs=False).mixture
    options: dict[str, Any] = {"init": start, "tol": 1e-7, "max_iter": 2000}
    plain = jgmm.fit(x, k, accelerate=False, **options)
    n_steps = int(plain.n_iter)

    def number(mixture: jgmm.Mixture) -> jax.Array:
        return jnp.sum(mixture.means**2) + jnp.sum(mixture.weights**2)

    def through_fit(pixels: Any, weights: Any) -> jax.Array:
        return number(jgmm.fit(pixels, k, weights=weights, **options).mixture)

    def through_steps(pixels: Any, weights: Any) -> jax.Array:
        def step(mixture: jgmm.Mixture, _: None) -> tuple[jgmm.Mixture, None]:
            return jgmm.em_step(mixture, pixels, weights)[0], None

        return number(jax.lax.scan(step, start, None, length=n_steps)[0])

    functions = {
        "fit": through_fit,
        "gradient": jax.grad(through_fit, (0, 1)),
        "steps": through_steps,
        "gradient, unrolled": jax.grad(through_steps, (0, 1)),
    }
    programs = {n: jax.jit(f).lower(pixels, weights).compile() for n, f in functions.items()}
    runs = {name: partial(_finish, program, pixels, weights) for name, program in programs.items()}
    results = {name: run() for name, run in runs.items()}
    times = timing.interleaved(runs, repeats)
    with jax.enable_x64(True):
        exact = {**options, "init": jax.tree.map(lambda a: a.astype(float), start), "tol": 1e-13}
        best = jax.grad(lambda x: number(jgmm.fit(x, k, **exact).mixture))(x.astype(float))
        best = np.asarray(best)
    errors = {
        name: float(abs(np.asarray(results[name][0]) - best).max() / abs(best).max())
        for name in ("gradient", "gradient, unrolled")
    }
    return {
        "n": len(x),
        "k": k,
        "steps": n_steps,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "temporary_MB": {
            name: program.memory_analysis().temp_size_in_bytes / 1e6  # type: ignore[union-attr]
            for name, program in programs.items()
        },
        "error": errors,
    }


def _finish(program: Any, *arguments: Any) -> Any:
    import jax

    return jax.block_until_ready(program(*arguments))
