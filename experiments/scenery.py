"""The four-k experiment: one photograph, mixtures of 3, 5, 7 and 10 Gaussians over its colours.

    python -m experiments.scenery [IMAGE] [-o DIR] [--restarts N]

Writes the learning curves and the segmentations side by side, and prints a table. Without an
image it takes a built-in photograph.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jgmm
from jgmm import plot
from jgmm.image import Image, read_image, sample_image
from jgmm.image.display import display_of
from jgmm.image.samples import samples_of
from jgmm.image.segmentation import Segmentation, segmentation_of

KS = (3, 5, 7, 10)


def train(image: Image, n_restarts: int) -> dict[int, Segmentation]:
    """Data to results: every distinct colour is a sample [red, green, blue] in [0, 1]."""
    samples = samples_of(image, "rgb")
    sweep = jgmm.sweep(
        samples.features,
        KS,
        weights=samples.weights,  # how many pixels have the colour
        reg_covar=samples.floor,  # no component narrower than 8 bits can tell
        n_restarts=n_restarts,
    )
    return {k: segmentation_of(samples, sweep[k]) for k in KS}


def draw(image: Image, results: dict[int, Segmentation], folder: Path) -> None:
    """Learning curves, and the photograph beside its segmentations."""
    fits = {k: result.fit for k, result in results.items()}
    scores = {k: float(result.fit.log_likelihood) for k, result in results.items()}
    show = display_of(image.pixels, image.alpha)
    pictures = {k: show(result.image) for k, result in results.items()}
    name = image.source.name
    plot.save(plot.learning_curves(fits, title=name), folder / "learning_curves.png")
    comparison = plot.comparison(show(image.pixels), pictures, scores)
    plot.save(comparison, folder / "comparison.png")


def table(results: dict[int, Segmentation]) -> str:
    """For each k: mean log-likelihood, steps, how it ended, the shares of its segments."""
    lines = [" k  nats per pixel  steps  status     shares of the segments (%)"]
    for k, result in results.items():
        fit = result.fit
        shares = " ".join(f"{100 * weight:.0f}" for weight in np.asarray(fit.mixture.weights))
        status = jgmm.Status(int(fit.status)).name.lower()
        score, steps = float(fit.log_likelihood), int(fit.n_iter)
        lines.append(f"{k:2d}  {score:14.4f}  {steps:5d}  {status:9s}  {shares}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment on one photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", type=Path, help="default: a built-in photograph")
    parser.add_argument("-o", dest="folder", type=Path, default=Path("jgmm-out/experiment"))
    parser.add_argument("--restarts", type=int, default=4, help="fits for each k (default: 4)")
    options = parser.parse_args(arguments)

    image = sample_image() if options.image is None else read_image(options.image)
    start = time.perf_counter()
    results = train(image, options.restarts)
    seconds = time.perf_counter() - start
    options.folder.mkdir(parents=True, exist_ok=True)
    draw(image, results, options.folder)
    print(table(results))
    print(f"{seconds:.1f} s, compilation included; figures in {options.folder}")


if __name__ == "__main__":
    main()
