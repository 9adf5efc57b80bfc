"""An image cut by models, band by band: labels and certainty as TIFF, and what is summed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm.cli import outputs, process, summary
from jgmm.cli.fits import Monitor
from jgmm.cli.options import JobError, samples_for
from jgmm.image import geo
from jgmm.image.bands import Banded
from jgmm.image.display import display_of
from jgmm.image.files import Image
from jgmm.image.model import ImageModel
from jgmm.image.samples import Samples, spread
from jgmm.image.table import columns_of, write_table
from jgmm.image.tiles import TILE, Bands
from jgmm.mixture.components import few_sizes
from jgmm.mixture.density import evaluate

NdArray = npt.NDArray[Any]
REDUCED = 2048  # pixels along the longer side of what stands for the image in pictures and pages


@dataclasses.dataclass
class Counted:
    """What was found of a segment of each number, summed over bands."""

    pixels: NdArray  # [K]
    sums: NdArray  # [K, C], of a grey image the same thrice

    def table(self, show: Callable[[NdArray], NdArray], names: Sequence[str]) -> dict[str, NdArray]:
        """Columns: pixels, share, the mean of each band, and the colour as it is shown."""
        means = self.means
        shown = show(means[None])[0]
        return {
            "segment": np.arange(len(self.pixels)),
            "pixels": self.pixels.astype(np.int64),
            "share": self.pixels / max(self.pixels.sum(), 1),
            **dict(zip(names, means.T, strict=True)),
            "hex": np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in shown.tolist()]),
        }

    @property
    def means(self) -> NdArray:
        """The mean of each segment [K, C]."""
        found: NdArray = self.sums / np.maximum(self.pixels, 1)[:, None]
        return found


@dataclasses.dataclass
class Cut:
    """An image cut tile by tile."""

    reduced: Image
    stride: int
    counted: dict[int, Counted]
    log_likelihoods: dict[int, float]
    input: dict[str, Any]


def bands_of(image: Banded) -> list[tuple[int, int]]:
    """First and last row of each band, which has one row of tiles."""
    return [(i, min(i + TILE, image.height)) for i in range(0, image.height, TILE)]


def identity_of(source: Path, told: Mapping[str, Any]) -> str:
    """What a run is of: the file as it is now, and all that decides about the result."""
    state = source.stat()
    what = [str(source.resolve()), state.st_size, state.st_mtime_ns, told, summary.versions()]
    return hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()


def left(image: Banded, bands: Bands) -> float:
    """The share of an image that is not labelled yet."""
    return 1 - len(bands.notes) / len(bands_of(image))


def ahead(began: float, done: int, of: int) -> str:
    """How long so many pieces of work will still take, by those done since ``began``."""
    return f"{(time.perf_counter() - began) / done * (of - done):.0f} s left"


def ends_a_tenth(i: int, of: int) -> bool:
    """Whether another tenth of the work is done with its piece i."""
    return (i + 1) * 10 // of > i * 10 // of


def bands_with(
    models: Mapping[str, str], source: Path, folder: Path, told: Mapping[str, Any]
) -> Bands:
    """What is labelled already by models of which these are the checksums."""
    return Bands(folder / outputs.LABELLED, identity_of(source, {**told, "models": models}))


def cut(
    image: Banded,
    source: Path,
    folder: Path,
    models: Mapping[int, ImageModel],
    bands: Bands,
    monitor: Monitor,
) -> Cut:
    """Label all pixels by each of the models, and write the labels; go on after ``bands``.

    ``segmented_k3.tif`` has the numbers of the segments, with their mean colours as palette, and
    ``certainty_k3.tif`` how sure each is, from 0 to 255. Pixels left out have the largest number.
    """
    stride = max(1, -(-max(image.height, image.width) // REDUCED))
    whole = _stacked(_label_bands(image, models, bands, monitor, stride))
    counted = {k: _sum(bands.notes, k) for k in models}
    n_pixels = sum(int(note["pixels"]) for note in bands.notes)
    show = dataclasses.replace(display_of(whole.pixels, whole.alpha), mask=None)
    for k in models:
        table = counted[k].table(show, columns_of(whole.pixels.shape[2], whole.band_names))
        _write(k, table, image, source, folder, bands)
    bands.path.unlink()
    return Cut(
        whole,
        stride,
        counted,
        {k: sum(n["scores"][str(k)] for n in bands.notes) / max(n_pixels, 1) for k in models},
        {
            "path": summary.path_text(source),
            "width": image.width,
            "height": image.height,
            "channels": whole.pixels.shape[2],
            "dtype": str(whole.pixels.dtype),
            "pixels": n_pixels,
            "pixels_left_out": image.height * image.width - n_pixels,
            "distinct_colours": None,
            "pages_taken": [whole.page],
            "pages": whole.pages,
            "pages_as_bands": whole.page_bands,
            "band_names": list(whole.band_names),
        },
    )


def _label_bands(
    image: Banded, models: Mapping[int, ImageModel], bands: Bands, monitor: Monitor, stride: int
) -> list[Image]:
    """Label what is not labelled yet; of all bands every so manieth row and column."""
    reduced: list[Image] = []
    began, done = time.perf_counter(), len(bands.notes)
    ranges = bands_of(image)
    if done:
        monitor.step(f"goes on after {done} of {len(ranges)} bands", done)
    pending = 0
    with process.parting("interrupted; the same command goes on from here"):
        for i, (start, stop) in enumerate(ranges):
            if i == done:  # to read again what is labelled is quick, and tells nothing of the rest
                began = time.perf_counter()
            band = image.rows(start, stop)
            reduced.append(thinned(band, start, stride))
            if i < done:
                continue
            pictures, note = _labels_of(band, models)
            bands.add(pictures, note)
            pending += 1
            if ends_a_tenth(i, len(ranges)):
                said = ahead(began, i + 1 - done, len(ranges) - done)
                monitor.step(f"labelled {stop:,} of {image.height:,} rows, {said}", pending)
                pending = 0
    return reduced


def thinned(band: Image, start: int, stride: int) -> Image:
    """Every so manieth row, counted from that of the image, and column of a band from ``start``."""
    some = slice(-start % stride, None, stride), slice(None, None, stride)
    # Of their own, where they are a part, or the band would stay with them.
    pixels = np.ascontiguousarray(band.pixels[some])
    alpha = None if band.alpha is None else np.ascontiguousarray(band.alpha[some])
    return dataclasses.replace(band, pixels=pixels, alpha=alpha)


def _write(
    k: int, table: Mapping[str, NdArray], image: Banded, source: Path, folder: Path, bands: Bands
) -> None:
    """The pictures of all pixels, where the image lies, and the table."""
    palette = None
    if k < 256:
        palette = np.array([list(bytes.fromhex(code[1:])) for code in table["hex"]], np.uint8)
    shape, dtype = (image.height, image.width), _depth(k)
    place = geo.tags_of(source, shape, nodata=np.iinfo(dtype).max)
    bands.write(folder / f"segmented_k{k}.tif", f"labels{k}", shape, dtype, palette, place)
    place = geo.tags_of(source, shape)
    bands.write(folder / f"certainty_k{k}.tif", f"certainty{k}", shape, tags=place)
    write_table(folder / f"segments_k{k}.csv", table)


def _depth(k: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if k < 256 else np.uint16


def _labels_of(
    band: Image, models: Mapping[int, ImageModel]
) -> tuple[dict[str, NdArray], dict[str, Any]]:
    """Labels and certainty of a band by each model, and what is summed."""
    pictures: dict[str, NdArray] = {}
    there = band.alpha is None or bool(band.alpha.any())
    note: dict[str, Any] = {"pixels": 0, "counts": {}, "sums": {}, "scores": {}}
    samples: Samples | None = None
    for k, model in models.items():
        if samples is None and there:
            setup = model.setup
            samples = samples_for(
                band, setup.recipe, model.mixture.covariance_type, channels=setup.channels
            )
            try:
                setup.refuse_unlike(samples)
            except ValueError as error:
                raise JobError(f"{error}: {band.source}") from error
            note["pixels"] = int(samples.mask.sum())
        shape, last = band.pixels.shape[:2], np.iinfo(_depth(k)).max
        labels: NdArray = np.full(shape, last, _depth(k))
        sure: NdArray = np.zeros(shape, np.uint8)
        counts: NdArray = np.zeros(k)
        sums: NdArray = np.zeros((k, len(columns_of(band.pixels.shape[2]))))
        score = 0.0
        if samples is not None:
            found = evaluate(
                few_sizes(model.mixture), samples.features, "labels", "certainty", "log_prob"
            )
            flat, certain, dense = jax.device_get(found)
            cut_, weights = spread(samples, flat, -1), np.asarray(samples.weights, np.float64)
            score = float(weights @ dense.astype(np.float64))
            if not np.isfinite(score):
                raise JobError(f"the model gives this image no finite likelihood: {band.source}")
            labels = np.where(cut_ < 0, last, cut_).astype(_depth(k))
            sure = np.rint(255 * np.clip(spread(samples, certain, 0), 0, 1)).astype(np.uint8)
            counts = np.bincount(flat, weights, k)
            values = samples.colours if samples.bands is None else samples.bands
            sums = np.stack([np.bincount(flat, weights * v, k) for v in values.T], axis=-1)
        pictures |= {f"labels{k}": labels, f"certainty{k}": sure}
        note["counts"][k], note["sums"][k], note["scores"][k] = (
            counts.tolist(),
            sums.tolist(),
            score,
        )
    return pictures, note


def _sum(notes: list[dict[str, Any]], k: int) -> Counted:
    # JSON has names where there were numbers.
    parts = [(note["counts"].get(str(k)), note["sums"].get(str(k))) for note in notes]
    return Counted(
        np.sum([counts for counts, _ in parts], axis=0), np.sum([s for _, s in parts], axis=0)
    )


def _stacked(parts: list[Image]) -> Image:
    """Parts of an image below each other."""
    inside = [
        np.ones(part.pixels.shape[:2], np.bool_) if part.alpha is None else part.alpha
        for part in parts
    ]
    alpha = np.concatenate(inside)
    pixels = np.concatenate([part.pixels for part in parts])
    return dataclasses.replace(parts[0], pixels=pixels, alpha=None if alpha.all() else alpha)
