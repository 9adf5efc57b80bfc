"""The work of the command line: an image in, a folder of results out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
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
from jgmm.cli.fitted import Fitted, fit_all
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
from jgmm.image.applying import apply_to
from jgmm.image.display import Display, display_of
from jgmm.image.files import Image
from jgmm.image.model_file import ModelFile, read_model
from jgmm.image.samples import Samples
from jgmm.image.scribbles import Scribbles
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
# What would be taken for a part of this run, or for its end.
_OF_BEFORE = ("summary.json", web.REPORT, outputs.FITTED, outputs.LABELLED)


@dataclasses.dataclass(frozen=True)
class _Given:
    """An image, as it is fitted and as it is shown."""

    pages: Sequence[Image]
    samples: Samples  # of all pages
    parts: list[Samples]  # of each
    scribbles: Scribbles | None
    show: Display

    @property
    def name(self) -> str:
        return self.pages[0].source.name


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
        given = _given(pages, options)
        offered = numbers_for(given.samples, options)
        with outputs.writing_to(folder, *_OF_BEFORE), outputs.drawing() as draw:
            steps = len(offered) * options.restarts + (len(options.ks) or 1)
            monitor.begin(given.name, about_pages(pages, given.samples), steps)
            fitted = fit_all(pages[0].source, given.samples, offered, options, monitor)
            if len(fitted.found) > 1:
                draw(outputs.draw_criteria, fitted.sweep, given.name, folder / "criteria.png")
            fits: dict[int, FitResult] = {}
            pictures: dict[int, NdArray] = {}
            original = outputs.shown(given.show, pages[0], pages[0].pixels)
            report = web.report_of(pages[0], given.show, len(fitted.ks), options)
            for k in fitted.ks:
                found = _segment(given.parts[0], fitted, k, options)
                fits[k] = found.fit
                pictures[k], table = _write(folder, k, given, found, options, draw)
                report.add(found, table)
                monitor.step(f"wrote k = {k}")
            draw(outputs.draw_curves, fits, given.name, folder / "learning_curves.png")
            draw(outputs.draw_comparison, original, pictures, fits, folder / "comparison.png")
            draw.wait()
            drawn = given.scribbles
            content = {
                "input": summary.input_summary(pages, given.samples),
                "labels": None if drawn is None else summary.labels_summary(drawn),
                **fitted.content(fits, options),
                "seconds": round(time.perf_counter() - start, 4),
            }
            report.write(folder, _inside(pages), fits, content)
            summary.write_json(folder / "summary.json", content)
    return content


def _given(pages: Sequence[Image], options: Options) -> _Given:
    """The samples of the pages, those that were drawn on with their labels."""
    whole = joined_for(pages, options)
    scribbles = None if options.labels is None else scribbles_for(options, whole)
    samples = samples_for(
        whole,
        options.features,
        options.covariance,
        labels=None if scribbles is None else scribbles.labels,
        xy_weight=options.xy_weight,
    )
    parts = [samples]
    if len(pages) > 1:
        parts = [samples_for(page, samples.recipe, options.covariance) for page in pages]
    return _Given(pages, samples, parts, scribbles, display_of(whole.pixels, whole.alpha))


def _segment(samples: Samples, fitted: Fitted, k: int, options: Options) -> Segmentation:
    """The segmentation by the fit of k, or by one under a Potts prior, whose time is told."""
    if options.noise_model is None:
        return segmentation_of(samples, fitted.sweep[k], options.spatial)
    began = time.perf_counter()
    found = potts_segmentation(
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
    fitted.seconds[k] = time.perf_counter() - began
    return found


def _write(
    folder: Path,
    k: int,
    given: _Given,
    found: Segmentation,
    options: Options,
    draw: outputs.Artist,
) -> tuple[NdArray, Mapping[str, NdArray]]:
    """What there is of one k: curve, pictures of each page, film and model.

    Returns:
        The picture and the table of the first page, of which ``found`` is.
    """
    pages, name, show = given.pages, given.name, given.show
    draw(outputs.draw_curve, found.fit, f"{name}, k = {k}", folder / f"learning_curve_k{k}.png")
    first = outputs.write_all(_place(folder, pages, 0), k, found, pages[0], show)
    for i in range(1, len(pages)):
        other = segmentation_by(found.fit.mixture, given.parts[i], options.spatial)
        outputs.write_all(_place(folder, pages, i), k, other, pages[i], show)
    if options.animate is not None:
        film = animation.film_of(given.parts[0], found, show, options)
        draw(animation.draw_film, film, name, folder / f"animation_k{k}.{options.animate}")
    files.save(folder / f"model_k{k}.safetensors", found.model, summary.made_by(options))
    return first


def apply_job(
    file: ModelFile, pages: Sequence[Image], folder: Path, options: Options
) -> dict[str, Any]:
    """Segment an image by a model that `segment_job` or `jgmm.save` wrote; write the results.

    Returns:
        The summary.

    Raises:
        JobError: an image that does not suit the model, or a folder that cannot be written to.
    """
    setup, mixture = file.model.setup, file.model.mixture
    k = mixture.n_components
    tiles = with_model(options, setup).needing_all is None
    # Labels under a Potts prior take less than a fit does.
    alike = dataclasses.replace(with_model(Options(ks=(k,)), setup), noise_model=None)
    memory.expect_room(pages, alike, tiles=tiles)
    with jax.enable_x64(mixture.means.dtype == np.float64):
        parts = [samples_for(page, setup.recipe, mixture.covariance_type) for page in pages]
        try:
            found = [apply_to(file.model, samples) for samples in parts]
        except ValueError as error:
            raise JobError(f"{error}: {pages[0].source}") from error
        scores = [float(score(mixture, s.features, s.weights)) for s in parts]
        if not np.isfinite(scores).all():
            raise JobError(f"the model gives this image no finite likelihood: {pages[0].source}")
        counts = [int(s.mask.sum()) for s in parts]
        with outputs.writing_to(folder, *_OF_BEFORE):
            whole = joined(pages)
            show = display_of(whole.pixels, whole.alpha)
            report = web.report_of(pages[0], show, 1, options)
            tables = [
                outputs.write_all(_place(folder, pages, i), k, cut, page, show)[1]
                for i, (page, cut) in enumerate(zip(pages, found, strict=True))
            ]
            report.add(found[0], tables[0])
            content = {
                "input": summary.input_summary(pages, *parts),
                **summary.model_summary(file),
                "log_likelihood": summary.numbers(np.average(scores, weights=counts)),
                "pages": [
                    {"page": page.page, "pixels": n, "log_likelihood": summary.numbers(value)}
                    for page, n, value in zip(pages, counts, scores, strict=True)
                ],
                "versions": summary.versions(),
                **summary.mixture_summary(mixture),
            }
            report.write(folder, _inside(pages), {}, content)
            summary.write_json(folder / "summary.json", content)
    return content


def apply_image(
    file: ModelFile, source: Path, folder: Path, options: Options, monitor: Terminal
) -> tuple[str, dict[str, Any]]:
    """Segment an image by a model, tile by tile where it is large; what came of it, in words too.

    Returns:
        A line that says it, and the summary.

    Raises:
        JobError: tiles are asked for, and the model needs the whole image; or as of `apply_job`.
    """
    which, needed = "", with_model(options, file.model.setup)
    if options.tiled and needed.needing_all and not options.needing_all:
        raise JobError(
            f"expected a model without smoothing, regions and position for --tiled: {file.path}"
        )
    if is_tiled(source, needed):
        try:
            result = apply_tiled(file, source, folder, options, monitor)
        finally:
            monitor.end()
    else:
        pages = pages_of(source, options)
        result = apply_job(file, pages, folder, options)
        which = f"{taken(pages)}, " if taken(pages) else ""
    said = f"{source.name}: {which}k = {result['k']}, log-likelihood {result['log_likelihood']:.4f}"
    return said, result


def model_for(path: Path) -> ModelFile:
    """The model in a file.

    Raises:
        JobError: the file cannot be read, or holds no model of images.
    """
    try:
        return read_model(path)
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(str(error)) from error


def _place(folder: Path, pages: Sequence[Image], index: int) -> Path:
    """Where the pictures of a page go: with several, into a folder of its own."""
    if len(pages) == 1:
        return folder
    place = folder / _folder_of(pages, index)
    place.mkdir(exist_ok=True)
    return place


def _folder_of(pages: Sequence[Image], index: int) -> str:
    return page_folder(pages[index].page, [page.page for page in pages])


def _inside(pages: Sequence[Image]) -> str:
    """Where pictures of the first page are, seen from the folder of all results."""
    return "" if len(pages) == 1 else f"{_folder_of(pages, 0)}/"
