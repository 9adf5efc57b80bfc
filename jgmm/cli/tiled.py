"""Images that are too large to be held: read band by band, written tile by tile, resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.cli import outputs, summary
from jgmm.cli import pages as web
from jgmm.cli.cutting import (
    Cut,
    ahead,
    bands_of,
    bands_with,
    cut,
    ends_a_tenth,
    identity_of,
    left,
    thinned,
)
from jgmm.cli.estimates import FITTED, counts_colours, expect, expect_fits
from jgmm.cli.fits import Monitor
from jgmm.cli.fitted import fit_all
from jgmm.cli.joint import write_fits
from jgmm.cli.options import JobError, Options, numbers_for, samples_for
from jgmm.em.result import FitResult
from jgmm.image.bands import Banded, banded, size_of
from jgmm.image.display import display_of
from jgmm.image.model import ImageModel
from jgmm.image.model_file import ModelFile, load_model
from jgmm.image.segmentation import Segmentation, segmentation_by
from jgmm.image.stack import Pool
from jgmm.image.tiles import Bands

NdArray = npt.NDArray[Any]
_REDUCED = "reduced/"  # where pictures of a smaller image are, seen from the results
LARGE = 100_000_000  # pixels, above which an image is worked on tile by tile


def is_tiled(source: Path, options: Options) -> bool:
    """Whether the image is to be worked on tile by tile.

    Raises:
        JobError: that is asked for, and does not go with the other options.
    """
    name = options.needing_all
    if options.tiled and name is not None:
        raise JobError(f"expected no {name} with --tiled")
    return options.tiled or (name is None and size_of(source) > LARGE)


def apply_tiled(
    file: ModelFile, source: Path, folder: Path, options: Options, monitor: Monitor
) -> dict[str, Any]:
    """Segment a large image by a model; see `jgmm.cli.commands.apply_job`.

    Returns:
        The summary.

    Raises:
        JobError: an image that does not suit the model, or a folder that cannot be written to.
    """
    model, mixture = file.model, file.model.mixture
    k = mixture.n_components
    told = {**model.setup.to_metadata(), **summary.mixture_summary(mixture)}
    told["page"] = options.page
    with (
        jax.enable_x64(mixture.means.dtype == np.float64),
        banded(source, options.page) as image,
        outputs.writing_to(folder, "summary.json", web.REPORT),
    ):
        bands = Bands(folder / outputs.LABELLED, identity_of(source, told))
        expect(image, source, left(image, bands), monitor)
        found = cut(image, source, folder, {k: model}, bands, monitor)
        report = _report_of(found, options)
        for _, segments, _, table in _reduced(folder, {k: model}, found):
            report.add(segments, table)
        content = {
            "input": found.input,
            **summary.model_summary(file),
            "log_likelihood": summary.numbers(np.float64(found.log_likelihoods[k])),
            "reduced_by": found.stride,
            "versions": summary.versions(),
            **summary.mixture_summary(mixture),
        }
        report.write(folder, _REDUCED, {}, content)
        summary.write_json(folder / "summary.json", content)
    return content


def segment_tiled(source: Path, folder: Path, options: Options, monitor: Monitor) -> dict[str, Any]:
    """Segment a large image for every k; see `jgmm.cli.commands.segment_job`.

    Of three channels of 8 bits or fewer the colours are counted, and the fit is that to all pixels;
    of others it is to every so manieth row and column. What a run that was interrupted has done is
    not done again.

    Returns:
        The summary.

    Raises:
        JobError: an image that these options do not suit, or a folder that cannot be written to.
    """
    start = time.perf_counter()
    with (
        jax.enable_x64(options.dtype == "float64"),
        banded(source, options.page) as image,
        outputs.writing_to(folder, "summary.json", web.REPORT),
        outputs.drawing() as draw,
    ):
        kept, bands = _fitted(image, source, folder, options, monitor, draw)
        ks = [fit["k"] for fit in kept["content"]["fits"]]
        models = {k: load_model(folder / f"model_k{k}.safetensors") for k in ks}
        found = cut(image, source, folder, models, bands, monitor)
        report = _report_of(found, options)
        pictures: dict[int, NdArray] = {}
        fits: dict[int, FitResult] = {}
        for k, segments, picture, table in _reduced(folder, models, found):
            pictures[k], fits[k] = picture, _with_history(segments.fit, kept, k)
            report.add(dataclasses.replace(segments, fit=fits[k]), table)
        original = outputs.shown(report.show, found.reduced, found.reduced.pixels)
        draw(outputs.draw_comparison, original, pictures, fits, folder / "comparison.png")
        draw.wait()
        content = {
            "input": found.input,
            "labels": None,
            **kept["content"],
            "fitted_to": kept["fitted_to"],
            "reduced_by": found.stride,
            "seconds": round(time.perf_counter() - start, 4),
        }
        report.write(folder, _REDUCED, fits, content)
        summary.write_json(folder / "summary.json", content)
        (folder / outputs.FITTED).unlink()
    return content


def _report_of(found: Cut, options: Options) -> web.Report:
    """The beginning of a page that shows the smaller image."""
    small = found.reduced
    return web.report_of(small, display_of(small.pixels, small.alpha), len(found.counted), options)


def _reduced(
    folder: Path, models: Mapping[int, ImageModel], found: Cut
) -> Iterator[tuple[int, Segmentation, NdArray, Mapping[str, NdArray]]]:
    """Write the pictures of the smaller image as they are written of others, one k after the other.

    Yields:
        k, the segments, the picture and the table.
    """
    place, image = folder / _REDUCED, found.reduced
    place.mkdir(exist_ok=True)
    show = display_of(image.pixels, image.alpha)
    for k, model in models.items():
        samples = samples_for(image, model.setup.recipe, model.mixture.covariance_type)
        segments = segmentation_by(model.mixture, samples, model.setup.spatial)
        colours = np.asarray(dataclasses.replace(show, mask=None)(found.counted[k].means))
        made = outputs.write_all(place, k, segments, image, show, colours, geotiffs=False)
        yield k, segments, *made


def _fitted(
    image: Banded,
    source: Path,
    folder: Path,
    options: Options,
    monitor: Monitor,
    draw: outputs.Artist,
) -> tuple[dict[str, Any], Bands]:
    """The fits, as they are written down where a run is interrupted, and what they labelled."""
    told = summary.options_summary(options)
    for name in ("command", "report"):
        del told[name]
    identity = identity_of(source, told)
    kept = _kept(folder / outputs.FITTED, identity)
    if kept is not None:
        bands = bands_with(kept["models"], source, folder, told)
        expect(image, source, len(kept["models"]) * left(image, bands), monitor)
        return kept, bands
    expect(image, source, (len(options.ks) or 1) + 1, monitor, options)
    kept = _fit(image, source, folder, options, monitor, draw) | {"identity": identity}
    draw.wait()
    kept["models"] = _digests(folder, kept)
    summary.write_json(folder / outputs.FITTED, kept)
    return kept, bands_with(kept["models"], source, folder, told)


def _with_history(fit: FitResult, kept: Mapping[str, Any], k: int) -> FitResult:
    """The fit of k, with what was written down of its run."""
    of_k = next(fit for fit in kept["content"]["fits"] if fit["k"] == k)
    known: dict[str, Any] = {
        "history": np.asarray(kept["histories"][str(k)], np.float64),
        "log_likelihood": np.float64(of_k["log_likelihood"]),
        "objective": np.float64(of_k["objective"]),
    }
    return dataclasses.replace(fit, **known)


def _kept(state: Path, identity: str) -> dict[str, Any] | None:
    """What a run wrote down of its fits, if it was of the same and its models are there still."""
    try:
        found: dict[str, Any] = json.loads(state.read_text())
        there = _digests(state.parent, found)
    except (OSError, ValueError, KeyError):
        return None
    return found if (found.get("identity"), found.get("models")) == (identity, there) else None


def _digests(folder: Path, kept: Mapping[str, Any]) -> dict[str, str]:
    """Of the file of each model, which other runs may write anew, a checksum."""
    names = [f"model_k{fit['k']}.safetensors" for fit in kept["content"]["fits"]]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _fit(
    image: Banded,
    source: Path,
    folder: Path,
    options: Options,
    monitor: Monitor,
    draw: outputs.Artist,
) -> dict[str, Any]:
    """Fit every k, and write the models and curves; what is to be kept of it."""
    first = image.rows(0, 1).pixels
    counted = counts_colours(first.dtype, first.shape[2])
    pixels = image.height * image.width
    stride = 1 if counted else max(1, math.ceil(math.sqrt(pixels / FITTED)))
    pool, ranges, began = Pool(), bands_of(image), time.perf_counter()
    for i, (start, stop) in enumerate(ranges):
        pool.add(thinned(image.rows(start, stop), start, stride))
        if ends_a_tenth(i, len(ranges)):
            said = ahead(began, i + 1, len(ranges))
            monitor.step(f"read {stop:,} of {image.height:,} rows, {said}", 0)
    try:
        whole, counts = pool.pooled()
    except ValueError as error:
        raise JobError(f"{error}: {source}") from error
    expect_fits(counts, whole.pixels.shape[2], source, options, monitor)
    samples = samples_for(whole, options.features, options.covariance, counts=counts)
    offered = numbers_for(samples, options)
    fitted = fit_all(source, samples, offered, options, monitor)
    fits = write_fits(folder, source.name, samples, fitted, options, draw)
    return {
        "content": fitted.content(fits, options),
        "histories": {str(k): summary.numbers(fit.history) for k, fit in fits.items()},
        "fitted_to": {"pixels": int(counts.sum()), "samples": len(counts), "stride": stride},
    }
