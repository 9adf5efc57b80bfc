"""The files that people look at: segments, labels, and figures drawn while other work goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.cli.options import JobError
from jgmm.em.result import FitResult
from jgmm.fitting.sweeps import SweepResult
from jgmm.image import geo
from jgmm.image.display import Display
from jgmm.image.files import Image, write_png
from jgmm.image.indexed import MOST_COLOURS, write_indexed_png
from jgmm.image.segmentation import Segmentation
from jgmm.image.table import region_table, segment_table, write_table

NdArray = npt.NDArray[Any]
FITTED, LABELLED = ".fitted.json", ".tiles.part"  # what an interrupted run by tiles goes on from


def write_all(
    folder: Path,
    k: int,
    found: Segmentation,
    image: Image,
    show: Display,
    colours: NdArray | None = None,
    *,
    geotiffs: bool = True,
) -> tuple[NdArray, Mapping[str, NdArray]]:
    """Everything that shows a segmentation; returns the picture in mean colours, and the table.

    ``colours`` [K, 3] uint8 are those of the picture, where they are not the means of the image.
    Without ``geotiffs`` the pixels are not those of the file, and lie elsewhere.
    """
    picture = shown(show, image, found.image)
    table = segment_table(found, show)
    palette = palette_of(table["hex"]) if colours is None else colours.tolist()
    write_segments(folder, k, found.labels, picture, palette)
    write_spatial(folder, k, found, shown(show, image, image.pixels))
    if not found.setup.spatial.as_drawn:
        write_png(folder / f"contours_k{k}.png", contours(found))
    write_table(folder / f"segments_k{k}.csv", table)
    write_table(folder / f"regions_k{k}.csv", region_table(found, show))
    if geotiffs and writes_geotiffs(image):
        write_geotiffs(folder, k, found, image, palette)
    return picture, table


def writes_geotiffs(image: Image) -> bool:
    """Whether results are written where the image lies on the Earth, as it says."""
    return geo.can_write() and geo.is_georeferenced(image.source)


def write_geotiffs(
    folder: Path, k: int, found: Segmentation, image: Image, palette: list[list[int]]
) -> None:
    """Labels, regions and certainty as GeoTIFF; what was left out is no data."""
    sure = np.where(found.labels < 0, np.nan, found.certainty).astype(np.float32)
    for name, values, colours in (
        ("labels", found.labels, palette),
        ("regions", found.regions, None),
        ("certainty", sure, None),
    ):
        target = folder / f"{name}_k{k}.tif"
        geo.write_geotiff(target, values, image.source, palette=colours)


def palette_of(codes: NdArray) -> list[list[int]]:
    """Colours in hex as red, green and blue; black for those that are none."""
    return [list(bytes.fromhex(code[1:] or "000000")) for code in codes]


def shown(show: Display, image: Image, pixels: NdArray) -> NdArray:
    """Pixels of an image, as it is shown, transparent where it is."""
    return replace(show, mask=image.alpha)(pixels)


def write_segments(
    folder: Path, k: int, labels: NdArray, picture: NdArray, palette: Sequence[list[int]]
) -> None:
    """The label indices, and each pixel in its segment's colour.

    The picture is an indexed PNG, the number of a segment that of its colour, where 256 colours
    suffice. Labels have 8 bits, or 16 if those do not suffice; pixels that were left out have the
    largest value there, 255 or 65535.
    """
    left_out = labels < 0
    few = k + left_out.any() <= MOST_COLOURS
    depth = np.uint8 if few else np.uint16
    if few:
        write_indexed_png(folder / f"segmented_k{k}.png", labels, palette)
    else:
        write_png(folder / f"segmented_k{k}.png", picture)
    coded = np.where(left_out, np.iinfo(depth).max, labels).astype(depth)
    write_png(folder / f"labels_k{k}.png", coded)


def write_spatial(folder: Path, k: int, found: Segmentation, original: NdArray) -> None:
    """The borders of the regions over the photograph, how sure each label is, and the regions.

    Regions are coded as labels are; certainty is from black, 0, to white, 1.
    """
    write_png(folder / f"overlay_k{k}.png", overlay(original, found.regions))
    sure = np.rint(255 * np.clip(found.certainty, 0, 1)).astype(np.uint8)
    write_png(folder / f"certainty_k{k}.png", sure)
    left_out = found.regions < 0
    depth = np.uint8 if found.regions.max() + 1 + left_out.any() <= 256 else np.uint16
    last = np.iinfo(depth).max
    coded = np.where(left_out, last, np.minimum(found.regions, last)).astype(depth)
    write_png(folder / f"regions_k{k}.png", coded)


def contours(found: Segmentation) -> NdArray:
    """The ultrametric contour map [2H - 1, 2W - 1] in hundredths, uint16.

    See `Hierarchy.contours`: below 100 M are the regions of ``merge=M``. The largest value is for
    655.35 and more, and where none joins the regions.
    """
    return np.minimum(np.rint(100 * found.hierarchy.contours()), 65535).astype(np.uint16)


def overlay(picture: NdArray, regions: NdArray) -> NdArray:
    """The picture [H, W, 3 or 4], uint8, with the borders between regions in yellow."""
    from skimage.segmentation import find_boundaries

    boundaries: Any = find_boundaries
    marked = picture.copy()
    marked[boundaries(regions, mode="inner", background=-1), :3] = 255, 230, 0
    return marked


@dataclass(frozen=True)
class Artist:
    """Draws one thing after the other in a thread of its own."""

    _pool: ThreadPoolExecutor
    _tasks: list[Future[None]] = field(default_factory=list)

    def __call__(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have ``function`` called with the arguments."""
        self._tasks.append(self._pool.submit(_plainly, function, *arguments))

    def wait(self) -> None:
        """Until all is drawn; raises what went wrong."""
        for task in self._tasks:
            task.result()


@contextmanager
def drawing() -> Iterator[Artist]:
    """An artist, who first of all fetches the tools, which takes a while."""
    pool = ThreadPoolExecutor(1)
    try:
        artist = Artist(pool)
        artist(_load)
        yield artist
    finally:
        pool.shutdown(cancel_futures=True)


def _load() -> None:
    from jgmm import plot  # noqa: F401


def _plainly(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function that draws, whatever the user has set up for figures of his own."""
    try:
        import matplotlib
    except Exception as error:  # of a settings file that is no text, for one
        raise JobError(f"matplotlib cannot be set up, see its matplotlibrc: {error}") from error

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        function(*arguments)


def draw_curve(fit: FitResult, title: str, path: Path) -> None:
    """The learning curve of one fit."""
    from jgmm import plot

    plot.save(plot.learning_curve(fit, title=title), path)


def draw_curves(fits: Mapping[int, FitResult], title: str, path: Path) -> None:
    """The learning curves of all fits."""
    from jgmm import plot

    plot.save(plot.learning_curves(fits, title=title), path)


def draw_criteria(result: SweepResult, title: str, path: Path) -> None:
    """BIC and ICL against k; of so many pixels AIC is one with BIC."""
    from jgmm import plot

    plot.save(plot.criteria(result, title=title), path)


def draw_comparison(
    original: NdArray, pictures: Mapping[int, NdArray], fits: Mapping[int, FitResult], path: Path
) -> None:
    """The original beside its segments for every k."""
    from jgmm import plot

    scores = {k: float(fit.log_likelihood) for k, fit in fits.items()}
    plot.save(plot.comparison(original, pictures, scores), path)


@contextmanager
def writing_to(folder: Path, *old: str) -> Iterator[None]:
    """Make the folder, see that it can be written to, and name it in what goes wrong.

    The files ``old``, which say that a run came to its end, are removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in old:
            (folder / name).unlink(missing_ok=True)
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise JobError(
            f"cannot write to {folder}: a file stands where a folder has to be"
        ) from error
    except OSError as error:
        raise JobError(f"cannot write to {folder}: {error.strerror or error}") from error
