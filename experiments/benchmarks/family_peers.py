"""Steps of other programs for each covariance family: mclust in R, scikit-learn and tgmm."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks import timing
from jgmm.families.table import MCLUST, SYNONYMS

NdArray = npt.NDArray[Any]
STUDENT = ", Student-t"  # behind the name of a family, with degrees of freedom that are estimated
FAMILIES = (*MCLUST, f"full{STUDENT}", f"diag{STUDENT}")
_STEPS = {"mclust": 3, "scikit-learn": 4, "tgmm": 3}
_SCIKIT_LEARN = ("full", "tied", "diag", "spherical")
_CODES = {name: code for code, name in SYNONYMS.items()}
# Steps of `me` from a partition, as many and one more than that, of each model: a line of JSON.
_R = """
suppressMessages(library(mclust))
told <- commandArgs(TRUE)
n <- as.integer(told[2]); d <- as.integer(told[3]); steps <- as.integer(told[4])
x <- matrix(readBin(told[1], "double", n * d), n, d)
z <- unmap(readBin(paste0(told[1], ".labels"), "integer", n))
seconds <- function(model, steps) {
  control <- emControl(tol = c(0, 1e-8), itmax = c(steps, 200))
  system.time(suppressWarnings(me(modelName = model, data = x, z = z, control = control)))[[3]]
}
for (model in told[-(1:4)]) {
  cat(sprintf('["%s", %f]\\n', model, (seconds(model, 1 + steps) - seconds(model, 1)) / steps))
}
"""


def compare(
    x: NdArray, labels: NdArray, repeats: int, families: Sequence[str] = FAMILIES
) -> dict[str, dict[str, float]]:
    """Milliseconds per step of each program for the families that it has, where it is installed.

    Args:
        x: samples [N, D].
        labels: a partition of them [N], to start from.
        repeats: timings of each, of which the median is reported.
        families: by their names here, with `STUDENT` behind them for Student-t components.
    """
    k = int(labels.max()) + 1
    means = np.stack([x[labels == i].mean(axis=0) for i in range(k)])
    found: dict[str, dict[str, float]] = {}
    for name, maker in {"scikit-learn": _scikit_learn, "tgmm": _tgmm}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs = {}
            for family in families:
                run = maker(x, means, family)
                if run is not None:
                    run(1)
                    runs[family] = run
            seconds = timing.per_step(runs, dict.fromkeys(runs, _STEPS[name]), repeats)
        found[name] = {family: 1e3 * value for family, value in seconds.items()}
    found["mclust"] = _mclust(x, labels, families)
    return found


def _scikit_learn(x: NdArray, means: NdArray, family: str) -> Callable[[int], object] | None:
    from sklearn.mixture import GaussianMixture

    if family not in _SCIKIT_LEARN:
        return None
    options: dict[str, Any] = {"covariance_type": family, "init_params": "random_from_data"}

    def run(n: int) -> object:
        model = GaussianMixture(len(means), means_init=means, max_iter=n, tol=0.0, **options)
        return model.fit(x)

    return run


def _tgmm(x: NdArray, means: NdArray, family: str) -> Callable[[int], object] | None:
    import torch
    from tgmm import GaussianMixture, StudentTMixture

    kind, is_t, _ = family.partition(STUDENT)
    code = kind if is_t else _CODES.get(kind, kind)
    mixture = StudentTMixture if is_t else GaussianMixture
    data, centers = (torch.from_numpy(np.asarray(a, np.float32)) for a in (x, means))

    def run(n: int) -> object:
        model = mixture(
            n_components=len(means),
            n_features=x.shape[1],
            covariance_type=code,
            max_iter=n,
            tol=1e-30,
            init_means=centers,
        )
        return model.fit(data)

    try:
        run(1)
    except ValueError:  # a version that has only some of the families
        return None
    return run


def _mclust(x: NdArray, labels: NdArray, families: Sequence[str]) -> dict[str, float]:
    if shutil.which("Rscript") is None:
        return {}
    codes = {_CODES.get(family, family): family for family in families if STUDENT not in family}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "samples"
        np.asfortranarray(x, np.float64).ravel("K").tofile(data)
        (labels + 1).astype(np.int32).tofile(f"{data}.labels")
        size = (str(len(x)), str(x.shape[1]), str(_STEPS["mclust"]))
        command = ["Rscript", "-e", _R, str(data), *size, *codes]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {codes[code]: 1e3 * seconds for code, seconds in rows}
