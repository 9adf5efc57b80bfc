"""Small images for the command line, all of one size, so that few programs are compiled."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

SHAPE = (12, 16)


def picture(channels: int = 3, seed: int = 0) -> np.ndarray:
    """Two halves of different colour, with noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal([[50.0] * channels] * SHAPE[1], 9.0, (*SHAPE, channels))
    image[:, SHAPE[1] // 3 :] += 40.0 * np.arange(1, channels + 1)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def write(path: str, image: np.ndarray) -> str:
    Path(path).parent.mkdir(exist_ok=True)
    iio.imwrite(path, image)
    return path


def annotated(folder: Path, noise: float = 0) -> None:
    """Two photographs of three parts, and what people drew on them, as studies take them."""
    rng = np.random.default_rng(0)
    truth = np.zeros((48, 64), np.uint16)
    truth[:, 32:] = 1
    truth[24:, 32:] = 2
    colours = np.array([[200, 30, 30], [30, 30, 200], [30, 200, 30]], float)[truth]
    for number in range(2):
        image = np.clip(colours + rng.normal(0, noise, colours.shape), 0, 255).astype(np.uint8)
        iio.imwrite(folder / f"{number}.jpg", image, quality=95)
        np.savez(folder / f"{number}.npz", segmentations=truth[None].repeat(2, axis=0))


def holes() -> np.ndarray:
    alpha = np.full((*SHAPE, 1), 255, np.uint8)
    alpha[:3, :4] = 0
    return np.dstack([picture(), alpha])


def tiff(image: np.ndarray) -> str:
    tifffile.imwrite("x.tif", image, photometric="minisblack")
    return "x.tif"
