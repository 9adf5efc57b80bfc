"""What the command line asks for, and the input that suits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jgmm.image.files import Image
from jgmm.image.recipe import Recipe
from jgmm.image.samples import Samples, samples_of
from jgmm.image.scribbles import Scribbles, read_scribbles
from jgmm.image.settings import Spatial, candidates


class JobError(Exception):
    """What the user can mend, said in one line."""


@dataclass(frozen=True)
class Options:
    """How to segment; see `jgmm.sweep` and `jgmm.segment`."""

    ks: tuple[int, ...] = (3, 5, 7, 10)  # none: the program chooses
    features: str = "rgb"
    covariance: str = "full"
    restarts: int = 1
    seed: int = 0
    max_iter: int = 500
    tol: float = 1e-6
    dtype: str = "float32"
    smooth: bool = False
    noise_model: str | None = None
    beta: float | str = "auto"
    min_region: int = 0
    merge: float = 0.0
    choose_by: str | None = None  # None: BIC among given ks, otherwise the knee
    xy_weight: float = 1.0
    labels: str | None = None  # a file; see `read_scribbles`

    @property
    def spatial(self) -> Spatial:
        """How labels and regions see their neighbours."""
        return Spatial(self.smooth, self.noise_model, self.beta, self.min_region, self.merge)


def samples_for(image: Image, features: str | Recipe, covariance: str, **more: Any) -> Samples:
    """The samples of an image; see `samples_of`."""
    try:
        return samples_of(image, features, covariance, **more)
    except (TypeError, ValueError) as error:
        raise JobError(f"{error}: {image.source}") from error


def scribbles_for(options: Options, image: Image) -> Scribbles:
    """What was drawn for an image, if that suits it and the numbers of segments."""
    assert options.labels is not None
    drawn = read_scribbles(options.labels)
    (height, width), (h, w) = image.pixels.shape[:2], drawn.labels.shape
    if (height, width) != (h, w):
        raise JobError(
            f"expected labels of the image's {width} x {height} pixels, got {w} x {h}: "
            f"{options.labels}"
        )
    n = len(drawn.colours)
    if options.ks and n > min(options.ks):
        raise JobError(
            f"expected labels of at most {min(options.ks)} colours for k = {min(options.ks)}, "
            f"got {n} besides black and transparent (brushes with soft edges make more than are "
            f"seen): {options.labels}"
        )
    return drawn


def numbers_for(samples: Samples, options: Options) -> tuple[int, ...]:
    """The numbers of components to fit."""
    try:
        return options.ks or candidates(samples.labels)
    except ValueError as error:
        raise JobError(str(error)) from error
