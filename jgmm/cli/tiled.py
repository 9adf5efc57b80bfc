"""Images that are too large to be held: read band by band, written tile by tile, resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.cli import outputs, summary
from jgmm.cli import pages as web
from jgmm.cli.cutting import Cut, ahead, bands_of, bands_with, cut, identity_of, left
from jgmm.cli.estimates import FITTED, counts_colours, expect, expect_fits
from jgmm.cli.fits import Monitor
from jgmm.cli.fitted import fit_all
from jgmm.cli.joint import write_fits
from jgmm.cli.options import JobError, Options, numbers_for, samples_for
from jgmm.em.result import FitResult
from jgmm.image.bands import Banded, banded, size_of
from jgmm.image.display import display_of
from jgmm.image.files import Image
from jgmm.image.model import ImageModel
from jgmm.image.model_file import load_model
from jgmm.image.segmentation import Segmentation, segmentation_by
from jgmm.image.stack import Pool
from jgmm.image.tiles import Bands

NdArray = npt.NDArray[Any]
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
    model: Path, source: Path, folder: Path, about: ImageModel, options: Options, monitor: Monitor
) -> dict[str, Any]:
    """Segment a large image by a model; see `jgmm.cli.commands.apply_job`.

    Returns:
        The summary.

    Raises:
        JobError: an image that does not suit the model, or a folder that cannot be written to.
    """
    k = about.mixture.n_components
    told = {**about.setup.to_metadata(), **summary.mixture_summary(about.mixture)}
    told["page"] = options.page
    with (
        jax.enable_x64(about.mixture.means.dtype == np.float64),
        banded(source, options.page) as image,
        outputs.writing_to(folder),
    ):
        for old in ("summary.json", web.REPORT):
            (folder / old).unlink(missing_ok=True)
        bands = Bands(folder / outputs.LABELLED, identity_of(source, told))
        expect(image, source, left(image, bands), monitor)
        found = cut(image, source, folder, {k: about}, bands, monitor)
        small, show = found.reduced, display_of(found.reduced.pixels, found.reduced.alpha)
        report = web.report_of(small, show, 1) if options.report else None

        def each(_: int, segments: Segmentation, __: NdArray, table: Any) -> None:
            if report is not None:
                report.add(segments, table)

        write_reduced(folder / "reduced", {k: about}, found, each)
        content = {
            "input": found.input,
            **summary.model_summary(model, about),
            "log_likelihood": summary.numbers(np.float64(found.log_likelihoods[k])),
            "reduced_by": found.stride,
            "versions": summary.versions(),
            **summary.mixture_summary(about.mixture),
        }
        if report is not None:
            report.write(folder, "reduced/", {}, content, options)
        summary.write_json(folder / "summary.json", content)
    return content


def write_reduced(
    folder: Path,
    models: Mapping[int, ImageModel],
    found: Cut,
    each: Callable[[int, Segmentation, NdArray, Any], None],
) -> None:
    """The pictures of a smaller image, as they are written of others.

    ``each`` is told of every k: the segments, the picture and the table.
    """
    folder.mkdir(exist_ok=True)
    image = found.reduced
    show = display_of(image.pixels, image.alpha)
    for k, model in models.items():
        samples = samples_for(image, model.setup.recipe, model.mixture.covariance_type)
        segments = segmentation_by(model.mixture, samples, model.setup.spatial)
        colours = np.asarray(dataclasses.replace(show, mask=None)(found.counted[k].means))
        made = outputs.write_all(folder, k, segments, image, show, colours, geotiffs=False)
        each(k, segments, *made)


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
    told = summary.options_summary(options)
    for name in ("command", "report"):
        del told[name]
    state = folder / outputs.FITTED
    with (
        jax.enable_x64(options.dtype == "float64"),
        banded(source, options.page) as image,
        outputs.writing_to(folder),
        outputs.drawing() as draw,
    ):
        for old in ("summary.json", web.REPORT):
            (folder / old).unlink(missing_ok=True)
        identity = identity_of(source, told)
        kept = _kept(state, identity)
        n_ks, rest, bands = len(options.ks) or 1, 1.0, None
        if kept:
            bands = bands_with(kept["models"], source, folder, told)
            n_ks, rest = len(kept["models"]), left(image, bands)
        n_passes = n_ks * rest + (0 if kept else 1)
        expect(image, source, n_passes, monitor, None if kept else options)
        if kept is None:
            kept = _fit(image, source, folder, options, monitor, draw) | {"identity": identity}
            draw.wait()
            kept["models"] = _digests(folder, kept)
            summary.write_json(state, kept)
            bands = bands_with(kept["models"], source, folder, told)
        ks = [fit["k"] for fit in kept["content"]["fits"]]
        models = {k: load_model(folder / f"model_k{k}.safetensors") for k in ks}
        assert bands is not None
        found = cut(image, source, folder, models, bands, monitor)
        small, show = found.reduced, display_of(found.reduced.pixels, found.reduced.alpha)
        report = web.report_of(small, show, len(ks)) if options.report else None
        pictures: dict[int, NdArray] = {}
        fits: dict[int, FitResult] = {}

        def each(k: int, segments: Segmentation, picture: NdArray, table: Any) -> None:
            of_k = next(fit for fit in kept["content"]["fits"] if fit["k"] == k)
            pictures[k] = picture
            known: dict[str, Any] = {
                "history": np.asarray(kept["histories"][str(k)], np.float64),
                "log_likelihood": np.float64(of_k["log_likelihood"]),
                "objective": np.float64(of_k["objective"]),
            }
            fits[k] = dataclasses.replace(segments.fit, **known)
            if report is not None:
                report.add(dataclasses.replace(segments, fit=fits[k]), table)

        write_reduced(folder / "reduced", models, found, each)
        original = outputs.shown(show, small, small.pixels)
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
        if report is not None:
            report.write(folder, "reduced/", fits, content, options)
        summary.write_json(folder / "summary.json", content)
        state.unlink()
    return content


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
        band, skip = image.rows(start, stop), -start % stride
        alpha = None if band.alpha is None else band.alpha[skip::stride, ::stride]
        pool.add(Image(band.pixels[skip::stride, ::stride], alpha, source))
        if (i + 1) * 10 // len(ranges) > i * 10 // len(ranges):
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
