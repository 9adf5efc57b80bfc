"""What is written down about a run: `summary.json`, and the metadata of a saved mixture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm import __version__
from jgmm._atomic import write_whole
from jgmm._status import Status
from jgmm.em.result import FitResult
from jgmm.fitting.sweeps import SweepResult
from jgmm.image.files import Image
from jgmm.image.model_file import ModelFile
from jgmm.image.samples import Samples
from jgmm.image.scribbles import Scribbles
from jgmm.mixture.mixture import Mixture


def numbers(values: npt.ArrayLike) -> Any:
    """Arrays as nested lists of the shortest decimals that mean the same; not finite is null."""
    array = np.asarray(values)
    if array.ndim:
        return [numbers(row) for row in array]
    if array.dtype.kind == "f":
        return float(str(array)) if np.isfinite(array) else None
    return array.item()


def path_text(path: str | os.PathLike[str] | None) -> str | None:
    """A path as text that JSON can hold: bytes that are no UTF-8 are escaped."""
    return None if path is None else os.fsencode(path).decode("utf-8", "backslashreplace")


def options_summary(options: Any) -> dict[str, Any]:
    """The options, with paths as text."""
    paths = {name: path_text(getattr(options, name)) for name in ("labels", "mask")}
    return {**asdict(options), **paths}


def input_summary(pages: Sequence[Image], *samples: Samples) -> dict[str, Any]:
    """The image that was read, and what of it was taken."""
    image = pages[0]
    height, width, channels = image.pixels.shape
    taking_part = sum(int(part.mask.sum()) for part in samples)
    index = samples[0].index
    return {
        "path": path_text(image.source),
        "width": width,
        "height": height,
        "channels": channels,
        "dtype": str(image.pixels.dtype),
        "pixels": taking_part,
        "pixels_left_out": sum(part.mask.size for part in samples) - taking_part,
        "distinct_colours": (
            len(samples[0].features) if index is not None and len(samples) == 1 else None
        ),
        "pages_taken": [page.page for page in pages],
        "pages": image.pages,
        "pages_as_bands": image.page_bands,
        "band_names": list(image.band_names),
    }


def mixture_summary(mixture: Mixture) -> dict[str, Any]:
    """The parameters, components by decreasing weight."""
    return {
        "weights": numbers(mixture.weights),
        "means": numbers(mixture.means),
        "covariances": numbers(mixture.covariances),
        "distribution": mixture.distribution.name,
        "degrees_of_freedom": (
            None if mixture.degrees_of_freedom is None else numbers(mixture.degrees_of_freedom)
        ),
    }


def made_by(options: Any) -> dict[str, Any]:
    """What the file of a model says of the run that made it."""
    return {"made": {"seed": options.seed, "jgmm": __version__}}


def model_summary(file: ModelFile) -> dict[str, Any]:
    """The model that was applied, with its settings under the names of options."""
    mixture, setup, made = file.model.mixture, file.model.setup, file.made
    spatial = setup.spatial
    return {
        "model": path_text(file.path),
        "features": setup.recipe.features,
        "k": mixture.n_components,
        "fitted": {
            "covariance": mixture.covariance_type,
            "distribution": mixture.distribution.name,
            "dtype": str(mixture.means.dtype),
            "smooth": spatial.smoothing or bool(spatial.smooth),
            "noise_model": spatial.noise_model,
            "beta": spatial.beta,
            "min_region": spatial.min_region,
            "merge": spatial.merge,
            "regions": spatial.n_regions,
            "seed": made.get("seed"),
            "jgmm": made.get("jgmm"),
            "channels": setup.channels,
            "image_dtype": setup.dtype,
        },
    }


def labels_summary(scribbles: Scribbles) -> list[dict[str, Any]]:
    """What was drawn for each segment."""
    counts = np.bincount(scribbles.labels[scribbles.labels >= 0])
    return [
        {"segment": i, "colour": numbers(colour), "pixels": int(counts[i])}
        for i, colour in enumerate(scribbles.colours)
    ]


def fit_summary(
    sweep: SweepResult, k: int, fit: FitResult, seconds: float, noise_model: str | None = None
) -> dict[str, Any]:
    """The best of the fits of k components; criteria are those of the same restart.

    Under a noise model likelihood, steps, seconds and parameters are those of the fit under it,
    and the criteria, which it has none of, those of the plain mixture.
    """
    row = np.asarray(sweep.n_components).tolist().index(k)
    objectives = np.asarray(sweep.fits.objective)[row]
    best = int(np.argmax(np.where(np.isfinite(objectives), objectives, -np.inf)))
    return {
        "k": k,
        "log_likelihood": numbers(fit.log_likelihood),
        "objective": numbers(fit.objective),
        "iterations": int(fit.n_iter),
        "status": Status(int(fit.status)).name.lower(),
        "bic": numbers(np.asarray(sweep.bic)[row, best]),
        "aic": numbers(np.asarray(sweep.aic)[row, best]),
        "icl": numbers(np.asarray(sweep.icl)[row, best]),
        "criteria_of": "this fit" if noise_model is None else "the plain mixture",
        "seconds": round(seconds, 4),
        "at_floor": numbers(np.zeros(0, bool) if fit.at_floor is None else fit.at_floor),
        **mixture_summary(fit.mixture),
    }


def candidates(sweep: SweepResult) -> list[dict[str, Any]]:
    """What the choice of k was made from: the likelihood and the criteria of each."""
    ks = np.asarray(sweep.n_components)
    best = np.argmax(np.nan_to_num(np.asarray(sweep.fits.objective), nan=-np.inf), axis=1)
    rows = np.arange(len(ks))
    return [
        {
            "k": int(ks[row]),
            "log_likelihood": numbers(np.asarray(sweep.fits.log_likelihood)[row, r]),
            "bic": numbers(np.asarray(sweep.bic)[row, r]),
            "icl": numbers(np.asarray(sweep.icl)[row, r]),
        }
        for row, r in zip(rows, best, strict=True)
    ]


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
    write_whole(path, f"{text}\n".encode())
