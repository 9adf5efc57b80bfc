"""Many images, segmented by one mixture that is fitted to all of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.cli import memory, outputs, summary
from jgmm.cli import pages as web
from jgmm.cli.attempts import attempt, pages_of, worst
from jgmm.cli.fits import Monitor
from jgmm.cli.fitted import Fitted, fit_all
from jgmm.cli.options import JobError, Options, numbers_for, samples_for
from jgmm.em.result import FitResult
from jgmm.image.display import Display, display_of
from jgmm.image.model import ImageModel, setup_of
from jgmm.image.painting import means_of
from jgmm.image.recipe import Recipe
from jgmm.image.samples import Samples
from jgmm.image.segmentation import assign, ordered, segmentation_by
from jgmm.image.stack import Pool
from jgmm.mixture import files

NdArray = npt.NDArray[Any]
Done = tuple[str, Path, dict[str, Any]]  # name of an image, its folder, its summary


@dataclasses.dataclass(frozen=True)
class _Joint:
    """One fit to many images, and what cuts each of them by it."""

    fitted: Fitted
    fits: dict[int, FitResult]  # of each k
    colours: dict[int, NdArray]  # of the segments of each k, their means over all images
    recipe: Recipe
    show: Display  # of all images, so that a colour is shown alike in each
    pool: dict[str, int]  # what `summary.json` says of all images


def joint_job(
    images: Mapping[Path, Path], output: Path, options: Options, monitor: Monitor
) -> tuple[int, list[Done]]:
    """Fit one mixture for each k to all images, and segment each by it into a folder of its own.

    Each image is read twice, one after the other, and none is kept: of integers memory holds the
    distinct colours of all. An image that goes wrong is said and left out.

    Args:
        images: their files, and the folder of each.
        output: where the models and the figures of the fits go.
        options: none that bind labels to places.
        monitor: hears how far it is.

    Returns:
        The exit status, and the images that were segmented.
    """
    with jax.enable_x64(options.dtype == "float64"):
        pool = Pool()
        codes = {
            source: attempt(lambda source, _: _add(pool, source, options), source, folder)
            for source, folder in images.items()
        }
        taken = {source: images[source] for source, code in codes.items() if code == 0}
        made: list[_Joint] = []
        done: list[Done] = []

        def cut(source: Path, folder: Path) -> None:
            done.append((source.name, folder, _cut(made[0], source, folder, options)))
            monitor.step(f"wrote {folder}")

        if taken:
            code = attempt(
                lambda *_: made.append(_fit(pool, output, options, monitor)), None, output
            )
            codes[output] = code
        if made:
            codes |= {source: attempt(cut, source, folder) for source, folder in taken.items()}
        return worst(codes.values()), done


def _add(pool: Pool, source: Path, options: Options) -> None:
    (image,) = pages_of(source, options)
    memory.expect_room([image], options)
    try:
        pool.add(image)
    except ValueError as error:
        raise JobError(f"{error}: {source}") from error


def _fit(pool: Pool, output: Path, options: Options, monitor: Monitor) -> _Joint:
    """Fit, and write what is about all images."""
    start = time.perf_counter()
    image, counts = pool.pooled()
    samples = samples_for(image, options.features, options.covariance, counts=counts)
    offered = numbers_for(samples, options)
    name = f"{pool.images} images"
    with outputs.writing_to(output, "summary.json", web.INDEX), outputs.drawing() as draw:
        total = {"images": pool.images, "pixels": int(counts.sum()), "samples": len(counts)}
        about = f"{total['pixels']:,} pixels, {total['samples']:,} different"
        monitor.begin(name, about, len(offered) * options.restarts + pool.images)
        fitted = fit_all(image.source, samples, offered, options, monitor)
        fits = write_fits(output, name, samples, fitted, options, draw)
        colours = {k: _colours(fit, samples) for k, fit in fits.items()}
        joint = _Joint(fitted, fits, colours, samples.recipe, display_of(image.pixels), total)
        draw.wait()
        content = {
            "joint": total,
            "labels": None,
            **fitted.content(fits, options),
            "seconds": round(time.perf_counter() - start, 4),
        }
        summary.write_json(output / "summary.json", content)
    return joint


def write_fits(
    folder: Path,
    name: str,
    samples: Samples,
    fitted: Fitted,
    options: Options,
    draw: outputs.Artist,
) -> dict[int, FitResult]:
    """Write the models, and draw the curves, of fits that are not of one image that is held."""
    fits = {k: ordered(fitted.sweep[k]) for k in fitted.ks}
    if len(fitted.found) > 1:
        draw(outputs.draw_criteria, fitted.sweep, name, folder / "criteria.png")
    setup = setup_of(samples, options.spatial)
    for k, fit in fits.items():
        draw(outputs.draw_curve, fit, f"{name}, k = {k}", folder / f"learning_curve_k{k}.png")
        model = ImageModel(mixture=fit.mixture, setup=setup)
        files.save(folder / f"model_k{k}.safetensors", model, summary.made_by(options))
    draw(outputs.draw_curves, fits, name, folder / "learning_curves.png")
    return fits


def _colours(fit: FitResult, samples: Samples) -> NdArray:
    """The mean colour [K, 3] of each segment, over all images; smoothing apart."""
    labels, _ = assign(fit.mixture, samples.features)
    k = fit.mixture.n_components
    return means_of(samples.colours, labels, k, samples.weights.astype(np.float64))


def _cut(joint: _Joint, source: Path, folder: Path, options: Options) -> dict[str, Any]:
    """Segment one image for every k, and write it down."""
    start = time.perf_counter()
    (image,) = pages_of(source, options)
    samples = samples_for(image, joint.recipe, options.covariance)
    show = dataclasses.replace(joint.show, mask=image.alpha)
    pictures: dict[int, NdArray] = {}
    report = web.report_of(image, show, len(joint.fits), options)
    with outputs.writing_to(folder, "summary.json", web.REPORT), outputs.drawing() as draw:
        for k, fit in joint.fits.items():
            found = segmentation_by(fit.mixture, samples, options.spatial)
            mean = np.where(found.labels[..., None] < 0, 0, joint.colours[k][found.labels])
            found = dataclasses.replace(found, fit=fit, image=mean.astype(found.image.dtype))
            shown = dataclasses.replace(show, mask=None)(joint.colours[k])
            pictures[k], table = outputs.write_all(folder, k, found, image, show, shown)
            report.add(found, table)
        original = outputs.shown(show, image, image.pixels)
        path = folder / "comparison.png"
        draw(outputs.draw_comparison, original, pictures, joint.fits, path)
        draw.wait()
        content = {
            "input": summary.input_summary([image], samples),
            "joint": joint.pool,
            "labels": None,
            **joint.fitted.content(joint.fits, options),
            "seconds": round(time.perf_counter() - start, 4),
        }
        report.write(folder, "", joint.fits, content, above="../")
        summary.write_json(folder / "summary.json", content)
    return content
