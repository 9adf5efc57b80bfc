"""How near a fit in float32 comes to the one in float64 from the same start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

import jgmm
from jgmm.image import read_image
from jgmm.image.samples import samples_of

NdArray = npt.NDArray[Any]
# Until nothing is gained that float32 can see.
TO_THE_END: dict[str, Any] = {"tol": 1e-9, "max_iter": 3000}


def units(path: Path) -> dict[str, tuple[NdArray, NdArray]]:
    """Distinct colours of a photograph in several units, in float32, and their counts."""
    image = read_image(path).pixels
    rgb, lab = samples_of(image), samples_of(image, "lab")
    whole = np.rint(np.asarray(rgb.features, np.float64) * 255).astype(np.float32)
    return {
        "0 to 255": (whole, rgb.weights),
        "Lab": (np.asarray(lab.features, np.float32), lab.weights),
        "offset by 10,000": (whole + np.float32(1e4), rgb.weights),
    }


def shortfall(x: NdArray, weights: NdArray, k: int) -> dict[str, float]:
    """What the float32 fit lacks of the float64 one, relative, both judged in float64."""
    with jax.enable_x64(True):
        wide, heavy = x.astype(np.float64), np.asarray(weights, np.float64)
        start = jgmm.fit(wide, k, weights=heavy, max_iter=0).mixture
        exact = jgmm.fit(wide, k, weights=heavy, init=start, **TO_THE_END)
        narrow = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), start)
        found = jgmm.fit(x, k, weights=weights.astype(np.float32), init=narrow, **TO_THE_END)
        back = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found.mixture)
        best = float(exact.log_likelihood)
        score = float(jgmm.score(back, wide, heavy))
    return {
        "in_truth": (best - score) / abs(best),
        "as_reported": (best - float(found.log_likelihood)) / abs(best),
    }


def table(folder: Path, ks: list[int], n_photographs: int) -> dict[str, Any]:
    """The shortfall for each k and unit over several photographs."""
    photographs = sorted(folder.rglob("*.jpg"))
    photographs = photographs[:: max(1, len(photographs) // n_photographs)]
    rows: dict[str, list[dict[str, float]]] = {}
    for path in photographs:
        for unit, (x, weights) in units(path).items():
            for k in ks:
                rows.setdefault(f"k = {k}, {unit}", []).append(shortfall(x, weights, k))
    return {
        "photographs": len(photographs),
        "relative_shortfall": {
            name: {
                "median": float(np.median([abs(row["in_truth"]) for row in values])),
                "worst": max(row["in_truth"] for row in values),
                "best": min(row["in_truth"] for row in values),
                "within_1e-6": int(sum(row["in_truth"] <= 1e-6 for row in values)),
            }
            for name, values in rows.items()
        },
    }
