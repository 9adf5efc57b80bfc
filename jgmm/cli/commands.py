"""The work of the command line: an image in, a folder of results out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.cli import animation, memory, outputs, summary
from jgmm.cli import pages as web
from jgmm.cli.about import about_pages, page_folder, taken
from jgmm.cli.attempts import pages_of
from jgmm.cli.fits import Monitor
from jgmm.cli.fitted import fit_all
from jgmm.cli.options import (
    JobError,
    Options,
    joined_for,
    numbers_for,
    samples_for,
    scribbles_for,
    with_model,
)
from jgmm.cli.terminal import Terminal
from jgmm.cli.tiled import apply_tiled, is_tiled
from jgmm.em.result import FitResult
from jgmm.fitting.sweeps import SweepResult
from jgmm.image.applying import apply_to
from jgmm.image.display import display_of
from jgmm.image.files import Image
from jgmm.image.model import ImageModel
from jgmm.image.model_file import load_model
from jgmm.image.samples import Samples
from jgmm.image.segmentation import (
    Segmentation,
    potts_segmentation,
    segmentation_by,
    segmentation_of,
)
from jgmm.image.stack import joined
from jgmm.mixture import files
from jgmm.mixture.density import score

NdArray = npt.NDArray[Any]


def segment_job(
    pages: Sequence[Image], folder: Path, options: Options, monitor: Monitor
) -> dict[str, Any]:
    """Segment an image for every k and write all results to a folder.

    Several pages of one file are segmented by one mixture, each into a folder of its own inside.

    Returns:
        The summary, as `summary.json` has it. That file is written last: where it stands, the
        folder is complete.

    Raises:
        JobError: an image that these options do not suit, or a folder that cannot be written to.
    """
    start = time.perf_counter()
    memory.expect_room(pages, options, tiles=options.needing_all is None)
    animation.refuse_unknown_plugins(options.animate)
    with jax.enable_x64(options.dtype == "float64"):
        name = pages[0].source.name
        whole = joined_for(pages, options)
        scribbles = None if options.labels is None else scribbles_for(options, whole)
        drawn = None if scribbles is None else scribbles.labels
        samples = samples_for(
            whole, options.features, options.covariance, labels=drawn, xy_weight=options.xy_weight
        )
        offered = numbers_for(samples, options)
        parts = [samples]
        if len(pages) > 1:
            parts = [samples_for(page, samples.recipe, options.covariance) for page in pages]
        show = display_of(whole.pixels, whole.alpha)
        with outputs.writing_to(folder), outputs.drawing() as draw:
            for old in ("summary.json", web.REPORT, outputs.FITTED, outputs.LABELLED):
                (folder / old).unlink(missing_ok=True)
            n_written = len(options.ks) or 1
            steps = len(offered) * options.restarts + n_written
            monitor.begin(name, about_pages(pages, samples), steps)
            fitted = fit_all(whole.source, samples, offered, options, monitor)
            ks, seconds = fitted.ks, fitted.seconds
            if len(fitted.found) > 1:
                draw(outputs.draw_criteria, fitted.sweep, name, folder / "criteria.png")
            fits: dict[int, FitResult] = {}
            pictures: dict[int, NdArray] = {}
            original = outputs.shown(show, pages[0], pages[0].pixels)
            report = web.report_of(pages[0], show, len(ks)) if options.report else None
            place = _place(folder, pages, 0)
            for k in ks:
                began = time.perf_counter()
                found = _segment(parts[0], fitted.sweep, k, options)
                if options.noise_model is not None:
                    seconds[k] = time.perf_counter() - began
                fits[k] = found.fit
                draw(outputs.draw_curve, found.fit, f"{name}, k = {k}", folder / _curve(k))
                pictures[k], table = outputs.write_all(place, k, found, pages[0], show)
                if report is not None:
                    report.add(found, table)
                for i in range(1, len(pages)):
                    other = segmentation_by(found.fit.mixture, parts[i], options.spatial)
                    outputs.write_all(_place(folder, pages, i), k, other, pages[i], show)
                if options.animate is not None:
                    film = animation.film_of(parts[0], found, show, options)
                    target = folder / f"animation_k{k}.{options.animate}"
                    draw(animation.draw_film, film, name, target)
                path = folder / f"model_k{k}.safetensors"
                files.save(path, found.model, summary.made_by(options))
                monitor.step(f"wrote k = {k}")
            draw(outputs.draw_curves, fits, name, folder / "learning_curves.png")
            draw(outputs.draw_comparison, original, pictures, fits, folder / "comparison.png")
            draw.wait()
            content = {
                "input": summary.input_summary(pages, samples),
                "labels": None if scribbles is None else summary.labels_summary(scribbles),
                **fitted.content(fits, options),
                "seconds": round(time.perf_counter() - start, 4),
            }
            if report is not None:
                report.write(folder, _inside(folder, place), fits, content, options)
            summary.write_json(folder / "summary.json", content)
    return content


def apply_job(
    model: Path, pages: Sequence[Image], folder: Path, about: ImageModel, options: Options
) -> dict[str, Any]:
    """Segment an image by a model that `segment_job` or `jgmm.save` wrote; write the results.

    Returns:
        The summary.

    Raises:
        JobError: an image that does not suit the model, or a folder that cannot be written to.
    """
    mixture, k = about.mixture, about.mixture.n_components
    tiles = with_model(options, about.setup).needing_all is None
    # Labels under a Potts prior take less than a fit does.
    alike = replace(with_model(Options(ks=(k,)), about.setup), noise_model=None)
    memory.expect_room(pages, alike, tiles=tiles)
    with jax.enable_x64(mixture.means.dtype == np.float64):
        parts = [samples_for(p, about.setup.recipe, mixture.covariance_type) for p in pages]
        try:
            found = [apply_to(about, samples) for samples in parts]
        except ValueError as error:
            raise JobError(f"{error}: {pages[0].source}") from error
        scores = [float(score(mixture, s.features, s.weights)) for s in parts]
        if not np.isfinite(scores).all():
            raise JobError(f"the model gives this image no finite likelihood: {pages[0].source}")
        counts = [int(s.mask.sum()) for s in parts]
        with outputs.writing_to(folder):
            for old in ("summary.json", web.REPORT, outputs.FITTED, outputs.LABELLED):
                (folder / old).unlink(missing_ok=True)
            whole = joined(pages)
            show = display_of(whole.pixels, whole.alpha)
            report = web.report_of(pages[0], show, 1) if options.report else None
            place = _place(folder, pages, 0)
            for i, (page, cut) in enumerate(zip(pages, found, strict=True)):
                _, table = outputs.write_all(_place(folder, pages, i), k, cut, page, show)
                if report is not None and i == 0:
                    report.add(cut, table)
            content = {
                "input": summary.input_summary(pages, *parts),
                **summary.model_summary(model, about),
                "log_likelihood": summary.numbers(np.average(scores, weights=counts)),
                "pages": [
                    {"page": page.page, "pixels": n, "log_likelihood": summary.numbers(value)}
                    for page, n, value in zip(pages, counts, scores, strict=True)
                ],
                "versions": summary.versions(),
                **summary.mixture_summary(mixture),
            }
            if report is not None:
                report.write(folder, _inside(folder, place), {}, content, options)
            summary.write_json(folder / "summary.json", content)
    return content


def apply_image(
    model: Path, source: Path, folder: Path, about: ImageModel, options: Options, monitor: Terminal
) -> tuple[str, dict[str, Any]]:
    """Segment an image by a model, tile by tile where it is large; what came of it, in words too.

    Returns:
        A line that says it, and the summary.

    Raises:
        JobError: tiles are asked for, and the model needs the whole image; or as of `apply_job`.
    """
    which, needed = "", with_model(options, about.setup)
    if options.tiled and needed.needing_all and not options.needing_all:
        raise JobError(
            f"expected a model without smoothing, regions and position for --tiled: {model}"
        )
    if is_tiled(source, needed):
        try:
            result = apply_tiled(model, source, folder, about, options, monitor)
        finally:
            monitor.end()
    else:
        pages = pages_of(source, options)
        result = apply_job(model, pages, folder, about, options)
        which = f"{taken(pages)}, " if taken(pages) else ""
    said = f"{source.name}: {which}k = {result['k']}, log-likelihood {result['log_likelihood']:.4f}"
    return said, result


def model_for(path: Path) -> ImageModel:
    """The model in a file.

    Raises:
        JobError: the file cannot be read, or holds no model of images.
    """
    try:
        return load_model(path)
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(str(error)) from error


def _curve(k: int) -> str:
    return f"learning_curve_k{k}.png"


def _place(folder: Path, pages: Sequence[Image], index: int) -> Path:
    """Where the pictures of a page go: with several, into a folder of its own."""
    if len(pages) == 1:
        return folder
    place = folder / page_folder(pages[index].page, [page.page for page in pages])
    place.mkdir(exist_ok=True)
    return place


def _inside(folder: Path, place: Path) -> str:
    """Where pictures are, seen from the folder of all results."""
    return "" if place == folder else f"{place.name}/"


def _segment(samples: Samples, result: SweepResult, k: int, options: Options) -> Segmentation:
    """The segmentation by the fit of k, or by one under a Potts prior instead."""
    if options.noise_model is None:
        return segmentation_of(samples, result[k], options.spatial)
    return potts_segmentation(
        samples,
        k,
        options.spatial,
        key=jax.random.key(options.seed),
        covariance_type=options.covariance,
        **options.distributed,
        max_iter=options.max_iter,
        tol=options.tol,
        reg_covar=samples.floor,
    )
