"""The work of the command line: an image in, a folder of results out."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
import numpy.typing as npt

from jgmm._warnings import unheard
from jgmm.cli import model_file, outputs, summary
from jgmm.cli.options import JobError, Options, numbers_for, samples_for, scribbles_for
from jgmm.em.result import FitResult
from jgmm.fitting.choice import choose, explain
from jgmm.fitting.sweeps import SweepResult, sweep
from jgmm.image.display import display_of
from jgmm.image.files import Image, read_image
from jgmm.image.samples import Samples
from jgmm.image.segmentation import (
    Segmentation,
    apply,
    potts_segmentation,
    segmentation_of,
)
from jgmm.mixture import files
from jgmm.mixture.density import score
from jgmm.mixture.mixture import Mixture

NdArray = npt.NDArray[Any]
T = TypeVar("T")


class Monitor(Protocol):
    """Whoever wants to hear how far a job is; may be called from any thread."""

    def begin(self, name: str, about: str, steps: int) -> None:
        """A job of so many steps starts."""

    def step(self, text: str, advance: int = 1) -> None:
        """A step has been done."""


def segment_job(image: Image, folder: Path, options: Options, monitor: Monitor) -> dict[str, Any]:
    """Segment an image for every k and write all results to a folder.

    Returns:
        The summary, as `summary.json` has it. That file is written last: where it stands, the
        folder is complete.

    Raises:
        JobError: an image that these options do not suit, or a folder that cannot be written to.
    """
    start = time.perf_counter()
    with jax.enable_x64(options.dtype == "float64"):
        scribbles = None if options.labels is None else scribbles_for(options, image)
        drawn = None if scribbles is None else scribbles.labels
        samples = samples_for(
            image, options.features, options.covariance, labels=drawn, xy_weight=options.xy_weight
        )
        offered = numbers_for(samples, options)
        show = display_of(image.pixels, image.alpha)
        metadata = model_file.metadata_of(image, samples, options.features, options.spatial)
        with _writing_to(folder), outputs.drawing() as draw:
            (folder / "summary.json").unlink(missing_ok=True)
            n_written = len(options.ks) or 1
            steps = len(offered) * options.restarts + n_written
            monitor.begin(image.source.name, _about(image, samples), steps)
            result, seconds = _fit(image.source, samples, offered, options, monitor)
            rule = options.choose_by or ("bic" if options.ks else options.spatial.rule)
            chosen = choose(result, rule)
            ks = options.ks or (chosen,)
            if len(offered) > 1:
                draw(outputs.draw_criteria, result, image.source.name, folder / "criteria.png")
            fits: dict[int, FitResult] = {}
            pictures: dict[int, NdArray] = {}
            original = show(image.pixels)
            for k in ks:
                began = time.perf_counter()
                found = _segment(samples, result, k, options)
                if options.noise_model is not None:
                    seconds[k] = time.perf_counter() - began
                fits[k], pictures[k] = found.fit, show(found.image)
                title = f"{image.source.name}, k = {k}"
                draw(outputs.draw_curve, fits[k], title, folder / f"learning_curve_k{k}.png")
                outputs.write_segments(folder, k, found.labels, pictures[k])
                outputs.write_spatial(folder, k, found, original)
                files.save(folder / f"model_k{k}.safetensors", fits[k].mixture, metadata)
                monitor.step(f"wrote k = {k}")
            draw(outputs.draw_curves, fits, image.source.name, folder / "learning_curves.png")
            draw(outputs.draw_comparison, original, pictures, fits, folder / "comparison.png")
            draw.wait()
            parts = [
                summary.fit_summary(result, k, fits[k], seconds[k], options.noise_model) for k in ks
            ]
            content = {
                "input": summary.input_summary(image, samples),
                "features": options.features,
                "labels": None if scribbles is None else summary.labels_summary(scribbles),
                "seed": options.seed,
                "options": asdict(options),
                "versions": summary.versions(),
                "chosen_k": chosen,
                "chosen_by": rule,
                "chosen_because": explain(result, rule),
                "chosen_from": summary.candidates(result),
                "fits": parts,
                "seconds": round(time.perf_counter() - start, 4),
            }
            summary.write_json(folder / "summary.json", content)
    return content


def apply_job(model: Path, source: Path, folder: Path) -> dict[str, Any]:
    """Segment an image by a mixture that `segment_job` saved, and write labels and colours.

    Returns:
        The summary.

    Raises:
        JobError: a file that is no such mixture, an image that does not suit it, or a folder that
            cannot be written to.
        ImageError: the image cannot be read.
    """
    mixture, metadata = _load(model)
    image = read_image(source)
    with jax.enable_x64(mixture.means.dtype == np.float64):
        if image.pixels.shape[2] != metadata["channels"] and metadata["recipe"].base == "bands":
            raise JobError(
                f"the model expects an image of {metadata['channels']} channels, "
                f"got {image.pixels.shape[2]}: {source}"
            )
        samples = samples_for(image, metadata["recipe"], mixture.covariance_type)
        if samples.features.shape[1] != mixture.n_features:
            raise JobError(
                f"the model expects an image of {metadata['channels']} channels, "
                f"got {image.pixels.shape[2]}: {source}"
            )
        with _writing_to(folder):
            (folder / "summary.json").unlink(missing_ok=True)
            found = apply(mixture, samples, metadata["spatial"])
            show = display_of(image.pixels, image.alpha)
            k = mixture.n_components
            outputs.write_segments(folder, k, found.labels, show(found.image))
            outputs.write_spatial(folder, k, found, show(image.pixels))
            content = {
                "input": summary.input_summary(image, samples),
                "model": os.fspath(model),
                "features": metadata["features"],
                "k": k,
                "log_likelihood": summary.numbers(
                    score(mixture, samples.features, samples.weights)
                ),
                "versions": summary.versions(),
                **summary.mixture_summary(mixture),
            }
            summary.write_json(folder / "summary.json", content)
    return content


def _segment(samples: Samples, result: SweepResult, k: int, options: Options) -> Segmentation:
    """The segmentation by a fit, or by one under a Potts prior instead."""
    if options.noise_model is None:
        return segmentation_of(samples, result[k], options.spatial)
    return potts_segmentation(
        samples,
        k,
        options.spatial,
        key=jax.random.key(options.seed),
        covariance_type=options.covariance,
        max_iter=options.max_iter,
        tol=options.tol,
        reg_covar=samples.floor,
    )


def _about(image: Image, samples: Samples) -> str:
    height, width, channels = image.pixels.shape
    bands = "1 channel" if channels == 1 else f"{channels} channels"
    about = f"{width} x {height} pixels, {bands}"
    if samples.index is None:
        return about
    colours = len(samples.features)
    return f"{about}, {colours:,} {'colour' if colours == 1 else 'colours'}"


def _load(model: Path) -> tuple[Mixture, dict[str, Any]]:
    try:
        return model_file.load_model(model)
    except OSError as error:
        raise JobError(f"cannot read {model}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(str(error)) from error


def _fit(
    name: Path, samples: Samples, offered: Sequence[int], options: Options, monitor: Monitor
) -> tuple[SweepResult, dict[int, float]]:
    """The sweep over all k, and the seconds that each took: the longest of its restarts."""
    seconds = dict.fromkeys(offered, 0.0)

    def on_fit(k: int, restart: int, elapsed: float) -> None:
        seconds[k] = max(seconds[k], elapsed)
        which = f", start {restart + 1} of {options.restarts}" if options.restarts > 1 else ""
        monitor.step(f"fitted k = {k}{which} in {elapsed:.1f} s")

    def work() -> SweepResult:
        # The table says how fits ended.
        with jax.enable_x64(options.dtype == "float64"), unheard():
            return sweep(
                samples.features,
                offered,
                key=jax.random.key(options.seed),
                weights=samples.weights,
                labels=samples.labels,
                covariance_type=options.covariance,
                n_restarts=options.restarts,
                max_iter=options.max_iter,
                tol=options.tol,
                reg_covar=samples.floor,
                short_runs=False,  # the learning curve shows the whole way
                on_fit=on_fit,
            )

    result = _interruptible(work)
    if not np.isfinite(result.fits.log_likelihood).any(axis=1).all():
        raise JobError(f"has values that {options.dtype} cannot work with: {name}")
    return result, seconds


def _interruptible(work: Callable[[], T]) -> T:
    """The result of ``work`` in a thread, so that an interrupt need not wait for its end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result()


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Make the folder, see that it can be written to, and name it in what goes wrong."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise JobError(f"cannot write to {folder}: there is a file of that name") from error
    except OSError as error:
        raise JobError(f"cannot write to {folder}: {error.strerror or error}") from error
