"""What the command line asks for, and the input that suits it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jgmm.image.files import Image, open_pages
from jgmm.image.inputs import as_image
from jgmm.image.masks import read_mask
from jgmm.image.model import Setup
from jgmm.image.recipe import Recipe
from jgmm.image.samples import Samples, samples_of
from jgmm.image.scribbles import Scribbles, read_scribbles
from jgmm.image.settings import RECOMMENDED, Spatial, candidates
from jgmm.image.stack import joined


class JobError(Exception):
    """What the user can mend, said in one line."""


@dataclass(frozen=True)
class Options:
    """How to segment; see `jgmm.sweep` and `jgmm.segment`."""

    ks: tuple[int, ...] = (3, 5, 7, 10)  # none: the program chooses
    features: str = "rgb"
    covariance: str = "full"
    distribution: str = "gaussian"
    degrees: float | str = "free"  # of freedom, of Student-t components
    restarts: int = 1
    seed: int = 0
    max_iter: int = 500
    tol: float = 1e-6
    dtype: str = "float32"
    search: str = "best"
    bayes: bool = False  # by variational Bayes, which switches components off
    smooth: bool | Mapping[str, float] = False
    noise_model: str | None = None
    beta: float | str = "auto"
    min_region: int = 0
    merge: float = 0.0
    regions: int | None = None  # that merging leaves
    choose_by: str | None = None  # None: BIC among given ks, otherwise the knee
    xy_weight: float = 1.0
    labels: str | None = None  # a file; see `read_scribbles`
    mask: str | None = None  # a file; see `read_mask`
    page: int | None = None  # of a file of several; None: the first
    stack: bool = False  # all pages, by one mixture
    tiled: bool = False  # tile by tile, whatever the size
    report: bool = True  # whether a page is made
    animate: str | None = None  # the kind of film of each fit, gif or mp4
    command: str = ""  # as it was given

    @property
    def distributed(self) -> dict[str, Any]:
        """How components are distributed, as `jgmm.fit` takes it."""
        return {"distribution": self.distribution, "degrees_of_freedom": self.degrees}

    @property
    def spatial(self) -> Spatial:
        """How labels and regions see their neighbours."""
        return Spatial(
            self.smooth,
            self.noise_model,
            self.beta,
            self.min_region,
            self.merge,
            self.regions,
        )

    @property
    def needing_all(self) -> str | None:
        """What needs the whole image at once, so that tiles do not do; None for nothing."""
        names = {
            "--stack": self.stack,
            "--labels": self.labels,
            "--mask": self.mask,
            "--noise-model": self.noise_model,
            "--smooth": self.smooth,
            "--min-region": self.min_region,
            "--merge": self.merge,
            "--regions": self.regions,
            "--animate": self.animate,
            "features with +xy": self.features.endswith("+xy"),
        }
        return next((name for name, given in names.items() if given), None)


def with_model(options: Options, setup: Setup) -> Options:
    """The options, with how a model describes images and sees neighbours, as far as tiles go."""
    spatial = setup.spatial
    return replace(
        options,
        features=setup.recipe.features,
        smooth=bool(spatial.smooth),
        noise_model=spatial.noise_model,
        min_region=math.ceil(spatial.min_region),
        merge=spatial.merge,
        regions=spatial.n_regions,
    )


def with_recommended(options: Options) -> Options:
    """The options, with what is recommended for photographs where they are the default."""
    default = Options()
    names = [n for n in RECOMMENDED if getattr(options, n) == getattr(default, n)]
    if options.regions is not None:  # which takes the place of merging by cost
        names.remove("merge")
    return replace(options, **{name: RECOMMENDED[name] for name in names})


def pages_for(
    source: Path, page: int | None = None, stack: bool = False, mask: str | None = None
) -> list[Image]:
    """The pages of a file that are asked for, with what a mask leaves out of each."""
    images = open_pages(source, 0 if stack else page)
    if mask is None:
        return images
    inside = read_mask(mask)
    for image in images:
        (height, width), (h, w) = image.pixels.shape[:2], inside.shape
        if (height, width) != (h, w):
            raise JobError(
                f"expected a mask of the image's {width} x {height} pixels, got {w} x {h}: {mask}"
            )
    try:
        return [as_image(image, mask=inside) for image in images]
    except ValueError as error:
        raise JobError(f"{error}: {source}") from error


def joined_for(pages: Sequence[Image], options: Options) -> Image:
    """All pixels of the pages, for one fit, if the options suit a stack."""
    if len(pages) > 1:
        for name, given in (
            ("--labels", options.labels),
            ("--noise-model", options.noise_model),
            ("features with +xy", options.features.endswith("+xy")),
        ):
            if given:
                raise JobError(f"expected no {name} with --stack, got {len(pages)} pages")
    try:
        return joined(pages)
    except ValueError as error:
        raise JobError(f"{error}: {pages[0].source}") from error


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
    """The numbers of components to fit; with Bayes at most, of which those in use are told."""
    try:
        offered = options.ks or candidates(samples.labels)
        return offered[-1:] if options.bayes and not options.ks else offered
    except ValueError as error:
        raise JobError(str(error)) from error


_SUFFIXES = frozenset(
    ".avif .bmp .gif .jp2 .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp".split()
)


def images_in(paths: Sequence[Path]) -> list[Path]:
    """The paths, and in the place of each folder the image files in it, by name.

    Raises:
        JobError: a folder without any.
    """
    images: list[Path] = []
    for path in paths:
        if not os.path.isdir(path):  # False for names that no file can have
            images.append(path)
            continue
        try:
            named = [p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES]
            inside = sorted(p for p in named if p.name[0] != "." and os.path.isfile(p))
        except OSError as error:
            raise JobError(f"cannot read {path}: {error.strerror}") from error
        if not inside:
            raise JobError(f"no image in the folder {path}")
        images += inside
    return images


def output_folders(images: Sequence[Path], output: Path) -> dict[Path, Path]:
    """A folder for each image: its name without suffix, numbered where several have the same.

    An image that is named twice appears once.
    """
    different: dict[str, Path] = {}
    for image in images:
        different.setdefault(os.path.realpath(image), image)
    stems = {i: i.stem if i.stem.strip(".") else i.name for i in different.values()}
    # Some file systems take a and A for the same.
    wanted = {stem.casefold() for stem in stems.values()}
    taken: set[str] = set()
    folders = {}
    for image, stem in stems.items():
        name, number = stem, 1
        while name.casefold() in (taken if number == 1 else taken | wanted):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        folders[image] = output / name
    return folders
