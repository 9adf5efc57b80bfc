"""What a user waits for in a fresh process: the first call, and what was compiled for it.

Each measurement is a process of its own, which this file is when it is run with the name of a call.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).parents[2]
# Durations that JAX reports, by the ends of their names.
_STAGES = {
    "trace": "jaxpr_trace_duration",
    "lower": "jaxpr_to_mlir_module_duration",
    "compile": "backend_compile_duration",
}


def _samples(n: int) -> Any:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 3)) + 2 * rng.integers(0, 4, size=(n, 1))).astype(np.float32)


def _photograph() -> Any:
    from jgmm.image import read_image, sample_image

    shared = _ROOT.parent / "shared" / "data" / "scenery.jpg"
    return (read_image(shared) if shared.exists() else sample_image()).pixels


def _grad() -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    import jgmm

    x = jnp.asarray(_samples(2000))
    return lambda: jax.grad(lambda x: jnp.sum(jgmm.fit(x, 3).mixture.means))(x)


def _jgmm(name: str) -> Callable[[], Any]:
    import jgmm

    few, many = _samples(2000), _samples(172_000)
    if name == "segment, k = 5":
        picture = _photograph()
        return lambda: jgmm.segment(picture, 5)
    if name == "grad of a fit, 2,000, k = 3":
        return _grad()
    if name == "sklearn API, 2,000, k = 3":
        from jgmm.sklearn import GaussianMixture

        return lambda: GaussianMixture(3).fit(few)
    calls: dict[str, Callable[[], Any]] = {
        "fit, 2,000, k = 3": lambda: jgmm.fit(few, 3),
        "fit, 172,000, k = 5": lambda: jgmm.fit(many, 5),
        "kmeans, 172,000, k = 10": lambda: jgmm.kmeans(many, 10),
        "sweep, 172,000, k = 2 to 8": lambda: jgmm.sweep(many, range(2, 9)),
    }
    return calls[name]


def _scikit_learn(name: str) -> Callable[[], Any] | None:
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    few, many = _samples(2000), _samples(172_000)
    calls: dict[str, Callable[[], Any]] = {
        "fit, 2,000, k = 3": lambda: GaussianMixture(3).fit(few),
        "sklearn API, 2,000, k = 3": lambda: GaussianMixture(3).fit(few),
        "fit, 172,000, k = 5": lambda: GaussianMixture(5).fit(many),
        "kmeans, 172,000, k = 10": lambda: KMeans(10).fit(many),
        "sweep, 172,000, k = 2 to 8": lambda: [GaussianMixture(k).fit(many) for k in range(2, 9)],
    }
    return calls.get(name)


def _gmmx(name: str) -> Callable[[], Any] | None:
    import jax.numpy as jnp
    from gmmx import EMFitter, GaussianMixtureModelJax
    from sklearn.cluster import KMeans

    sizes = {"fit, 2,000, k = 3": (2000, 3), "fit, 172,000, k = 5": (172_000, 5)}
    if name not in sizes:
        return None
    n, k = sizes[name]
    x = _samples(n)

    def run() -> Any:
        means = KMeans(k, n_init=1).fit(x).cluster_centers_  # it has no start of its own
        covariances = np.broadcast_to(np.cov(x.T), (k, 3, 3))
        model = GaussianMixtureModelJax.from_squeezed(
            means=jnp.asarray(means),
            covariances=jnp.asarray(covariances, jnp.float32),
            weights=jnp.full(k, 1 / k),
            covariance_type="full",
        )
        return EMFitter(tol=1e-3).fit(x=jnp.asarray(x), gmm=model).gmm.weights_numpy

    return run


CALLS = (
    "fit, 2,000, k = 3",
    "fit, 172,000, k = 5",
    "kmeans, 172,000, k = 10",
    "sweep, 172,000, k = 2 to 8",
    "segment, k = 5",
    "grad of a fit, 2,000, k = 3",
    "sklearn API, 2,000, k = 3",
)
_COMMAND = "jgmm segment, k = 3, 5, 7, 10"


def memory_maps() -> int:
    """The memory maps of this process; 0 where the system does not say."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


def _measure(library: str, name: str, folder: str | None) -> dict[str, Any] | None:
    """Seconds of the first call in this process and of the next, and what was compiled."""
    import jax

    found: dict[str, Any] = dict.fromkeys((*_STAGES, "programs"), 0)

    def note(event: str, duration_secs: float, **about: str | int) -> None:
        for stage, end in _STAGES.items():
            if event.endswith(end):
                found[stage] += duration_secs
                found["programs"] += stage == "compile"

    if library == "jgmm":
        import jgmm

        if folder is not None:
            jgmm.keep_programs(folder)
    run = {"jgmm": _jgmm, "scikit-learn": _scikit_learn, "gmmx": _gmmx}[library](name)
    if run is None:
        return None
    jax.block_until_ready(jax.numpy.zeros(3))
    maps = memory_maps()
    jax.monitoring.register_event_duration_secs_listener(note)
    for key in ("first", "next"):
        start, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run())
        found[key] = time.perf_counter() - start
        found.setdefault("cpu", time.process_time() - cpu)
        found.setdefault("maps", memory_maps() - maps)
    return found


def _command(folder: Path) -> float:
    """Seconds of the whole command line, which keeps programs in ``folder``."""
    import os

    from jgmm.image import sample_image

    with tempfile.TemporaryDirectory() as out:
        import imageio.v3 as iio

        iio.imwrite(f"{out}/photo.png", sample_image().pixels)
        command = [sys.executable, "-m", "jgmm", "segment", "photo.png"]
        environment = os.environ | {"XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(_ROOT)}
        start = time.perf_counter()
        subprocess.run(command, cwd=out, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start


def _process(library: str, name: str, folder: Path | None = None) -> Any:
    command = [sys.executable, "-m", "experiments.benchmarks.first_call", library, name]
    command += [] if folder is None else [str(folder)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(repeats: int) -> dict[str, Any]:
    """Medians over ``repeats`` rounds of fresh processes that take turns.

    Returns:
        For each call seconds of the first call of jgmm with nothing kept and with programs kept,
        of scikit-learn and gmmx; of jgmm's also the next call, CPU seconds, programs and maps.
    """
    kept = Path(tempfile.mkdtemp())
    times: dict[str, dict[str, list[Any]]] = {}

    def add(name: str, column: str, value: Any) -> None:
        if value is not None:
            times.setdefault(name, {}).setdefault(column, []).append(value)

    try:
        for name in CALLS:
            _process("jgmm", name, kept)
        _command(kept / "command")
        for _ in range(repeats):
            for name in CALLS:
                add(name, "jgmm", _process("jgmm", name))
                add(name, "jgmm, kept", _process("jgmm", name, kept))
                for library in ("scikit-learn", "gmmx"):
                    add(name, library, _process(library, name))
            with tempfile.TemporaryDirectory() as empty:
                add(_COMMAND, "jgmm", {"first": _command(Path(empty))})
            add(_COMMAND, "jgmm, kept", {"first": _command(kept / "command")})
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    return {name: {c: _medians(v) for c, v in row.items()} for name, row in times.items()}


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], (*sys.argv[3:], None)[0])))
