"""What is written down about a run: `summary.json`, and the metadata of a saved mixture."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm import __version__
from jgmm._atomic import atomic_write
from jgmm._status import Status
from jgmm.image.files import Image
from jgmm.image.segmentation import Samples
from jgmm.loop import FitResult
from jgmm.mixture import Mixture
from jgmm.selection import SweepResult


def numbers(values: npt.ArrayLike) -> Any:
    """Arrays as nested lists of the shortest decimals that mean the same; not finite is null."""
    array = np.asarray(values)
    if array.ndim:
        return [numbers(row) for row in array]
    if array.dtype.kind == "f":
        return float(str(array)) if np.isfinite(array) else None
    return array.item()


def input_summary(image: Image, samples: Samples) -> dict[str, Any]:
    """The image that was read."""
    height, width, channels = image.pixels.shape
    taking_part = int(samples.mask.sum())
    return {
        "path": os.fspath(image.source),
        "width": width,
        "height": height,
        "channels": channels,
        "dtype": str(image.pixels.dtype),
        "pixels": taking_part,
        "pixels_left_out": width * height - taking_part,
        "distinct_colours": len(samples.features) if samples.index is not None else None,
    }


def mixture_summary(mixture: Mixture) -> dict[str, Any]:
    """The parameters, components by decreasing weight."""
    return {
        "weights": numbers(mixture.weights),
        "means": numbers(mixture.means),
        "covariances": numbers(mixture.covariances),
    }


def fit_summary(sweep: SweepResult, k: int, fit: FitResult, seconds: float) -> dict[str, Any]:
    """The best of the fits of k components; criteria are those of the same restart."""
    row = np.asarray(sweep.n_components).tolist().index(k)
    likelihoods = np.asarray(sweep.fits.log_likelihood)[row]
    best = int(np.argmax(np.where(np.isfinite(likelihoods), likelihoods, -np.inf)))
    return {
        "k": k,
        "log_likelihood": numbers(fit.log_likelihood),
        "iterations": int(fit.n_iter),
        "status": Status(int(fit.status)).name.lower(),
        "bic": numbers(np.asarray(sweep.bic)[row, best]),
        "aic": numbers(np.asarray(sweep.aic)[row, best]),
        "icl": numbers(np.asarray(sweep.icl)[row, best]),
        "seconds": round(seconds, 4),
        **mixture_summary(fit.mixture),
    }


def least(fits: list[dict[str, Any]], criterion: str) -> int | None:
    """The k of the least value of a criterion; None if there is no finite one."""
    finite = [fit for fit in fits if fit[criterion] is not None]
    return min(finite, key=lambda fit: fit[criterion])["k"] if finite else None


def versions() -> dict[str, str]:
    """Of what may change the result."""
    return {
        "jgmm": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write strict JSON, whole or not at all."""
    text = json.dumps(content, indent=2, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
