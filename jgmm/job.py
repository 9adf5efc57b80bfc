"""The work of the command line: an image in, a folder of results out."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
import numpy.typing as npt

from jgmm import io, results, summary
from jgmm.image.display import display_of
from jgmm.image.features import FEATURES
from jgmm.image.files import Image, read_image
from jgmm.image.segmentation import Samples, apply, samples_of, segmentation_of
from jgmm.loop import FitResult
from jgmm.mixture import Mixture, score
from jgmm.selection import SweepResult, sweep

Array = npt.NDArray[Any]
T = TypeVar("T")


class JobError(Exception):
    """What the user can mend, said in one line."""


class Monitor(Protocol):
    """Whoever wants to hear how far a job is; may be called from any thread."""

    def begin(self, name: str, about: str, steps: int) -> None:
        """A job of so many steps starts."""

    def step(self, text: str, advance: int = 1) -> None:
        """A step has been done."""


@dataclass(frozen=True)
class Options:
    """How to segment; see `jgmm.sweep` and `jgmm.segment`."""

    ks: tuple[int, ...] = (3, 5, 7, 10)
    features: str = "rgb"
    covariance: str = "full"
    restarts: int = 1
    seed: int = 0
    max_iter: int = 500
    tol: float = 1e-6
    dtype: str = "float32"


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
        samples = _samples(image, options.features, options.covariance)
        show = display_of(image.pixels, image.alpha)
        metadata = _metadata(image, options)
        with _writing_to(folder), results.drawing() as draw:
            (folder / "summary.json").unlink(missing_ok=True)
            steps = len(options.ks) * (options.restarts + 1)
            monitor.begin(image.source.name, _about(image, samples), steps)
            result, seconds = _fit(image.source, samples, options, monitor)
            fits: dict[int, FitResult] = {}
            pictures: dict[int, Array] = {}
            for k in options.ks:
                found = segmentation_of(samples, result[k])
                fits[k], pictures[k] = found.fit, show(found.image)
                title = f"{image.source.name}, k = {k}"
                draw(results.draw_curve, fits[k], title, folder / f"learning_curve_k{k}.png")
                results.write_segments(folder, k, found.labels, pictures[k])
                io.save(folder / f"model_k{k}.safetensors", fits[k].mixture, metadata)
                monitor.step(f"wrote k = {k}")
            draw(results.draw_curves, fits, image.source.name, folder / "learning_curves.png")
            original = show(image.pixels)
            draw(results.draw_comparison, original, pictures, fits, folder / "comparison.png")
            draw.wait()
            parts = [summary.fit_summary(result, k, fits[k], seconds[k]) for k in options.ks]
            content = {
                "input": summary.input_summary(image, samples),
                "features": options.features,
                "seed": options.seed,
                "options": asdict(options),
                "versions": summary.versions(),
                "chosen_k": summary.least(parts, "bic"),
                "chosen_by": "bic",
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
        samples = _samples(image, metadata["features"], mixture.covariance_type)
        if samples.features.shape[1] != mixture.n_features:
            raise JobError(
                f"the model expects an image of {metadata['channels']} channels, "
                f"got {image.pixels.shape[2]}: {source}"
            )
        with _writing_to(folder):
            (folder / "summary.json").unlink(missing_ok=True)
            labels, colours, _ = apply(mixture, samples)
            show = display_of(image.pixels, image.alpha)
            k = mixture.n_components
            results.write_segments(folder, k, labels, show(colours))
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


def _samples(image: Image, features: str, covariance: str) -> Samples:
    try:
        return samples_of(image, features, covariance)
    except (TypeError, ValueError) as error:
        raise JobError(f"{error}: {image.source}") from error


def _about(image: Image, samples: Samples) -> str:
    height, width, channels = image.pixels.shape
    bands = "1 channel" if channels == 1 else f"{channels} channels"
    about = f"{width} x {height} pixels, {bands}"
    if samples.index is None:
        return about
    colours = len(samples.features)
    return f"{about}, {colours:,} {'colour' if colours == 1 else 'colours'}"


def _metadata(image: Image, options: Options) -> dict[str, Any]:
    """What `apply_job` has to know of the image that a mixture was fitted to."""
    return {
        "features": options.features,
        "channels": image.pixels.shape[2],
        "image_dtype": str(image.pixels.dtype),
    }


def _load(model: Path) -> tuple[Mixture, dict[str, Any]]:
    try:
        with jax.enable_x64(True):  # so that either precision is kept
            mixture, metadata = io.load_with_metadata(model)
    except OSError as error:
        raise JobError(f"cannot read {model}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(str(error)) from error
    if not isinstance(metadata.get("channels"), int) or "features" not in metadata:
        raise JobError(f"expected a model that `jgmm segment` wrote, got another mixture: {model}")
    if metadata["features"] not in FEATURES:
        raise JobError(f"fitted to features {metadata['features']!r}, unknown here: {model}")
    return mixture, metadata


def _fit(
    name: Path, samples: Samples, options: Options, monitor: Monitor
) -> tuple[SweepResult, dict[int, float]]:
    """The sweep over all k, and the seconds that each took: the longest of its restarts."""
    seconds = dict.fromkeys(options.ks, 0.0)

    def on_fit(k: int, restart: int, elapsed: float) -> None:
        seconds[k] = max(seconds[k], elapsed)
        which = f", start {restart + 1} of {options.restarts}" if options.restarts > 1 else ""
        monitor.step(f"fitted k = {k}{which} in {elapsed:.1f} s")

    def work() -> SweepResult:
        with jax.enable_x64(options.dtype == "float64"):
            return sweep(
                samples.features,
                options.ks,
                key=jax.random.key(options.seed),
                weights=samples.weights,
                covariance_type=options.covariance,
                n_restarts=options.restarts,
                max_iter=options.max_iter,
                tol=options.tol,
                reg_covar=samples.floor,
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
