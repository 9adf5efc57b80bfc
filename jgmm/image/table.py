"""What there is to say of each segment and each region, in numbers: tables, and their files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.image.borders import neighbours
from jgmm.image.display import Display, display_of

if TYPE_CHECKING:
    from jgmm.image.segmentation import Segmentation

NdArray = npt.NDArray[Any]
_BANDS = ("red", "green", "blue")
_DECIMALS = 2  # of means of whole numbers


def segment_table(found: Segmentation, show: Display | None = None) -> dict[str, NdArray]:
    """A row for each component, as columns of one length.

    ``segment``; ``pixels``; ``share`` of those that take part; ``weight`` of the component;
    ``red``, ``green``, ``blue`` of the mean colour, in the units of the image, to two decimals
    where its values are whole numbers (of many bands the first three, of a grey image the same
    thrice), and ``hex``, how that is shown; the covariance of these over the pixels of the
    segment, ``var_red`` to ``cov_green_blue``; ``certainty``, the mean; ``regions``, how many
    connected parts; ``x``, ``y``, the center; ``left``, ``top``, ``right``, ``bottom``, the first
    and last columns and rows; ``neighbours``, the numbers of the segments that touch it, with
    spaces between. What a segment without pixels does not have is NaN, or -1 in whole numbers.

    Args:
        found: the segmentation.
        show: how colours are shown; None for what suits the image.
    """
    k = found.fit.mixture.n_components
    taken = found.labels >= 0
    n = max(int(found.regions.max()) + 1, 1)
    parts = np.unique(found.labels[taken].astype(np.int64) * n + found.regions[taken]) // n
    about = _Parts(found, found.labels, k, show)
    return {
        "segment": np.arange(k),
        **about.size(),
        "weight": np.asarray(found.fit.mixture.weights),
        **about.colour(),
        **about.covariance(),
        "certainty": about.mean(found.certainty),
        "regions": np.bincount(parts, minlength=k),
        **about.place(),
    }


def region_table(found: Segmentation, show: Display | None = None) -> dict[str, NdArray]:
    """A row for each connected region, as columns: those of `segment_table` that regions have.

    ``region``, and ``segment``, the one that it is a part of, come first.
    """
    n = int(found.regions.max()) + 1
    segment = np.zeros(n, np.int64)
    taken = found.regions >= 0
    segment[found.regions[taken]] = found.labels[taken]
    about = _Parts(found, found.regions, n, show)
    return {
        "region": np.arange(n),
        "segment": segment,
        **about.size(),
        **about.colour(),
        **about.covariance(),
        "certainty": about.mean(found.certainty),
        **about.place(),
    }


class _Parts:
    """Sums over the parts of an image, each of which has a number."""

    def __init__(self, found: Segmentation, labels: NdArray, n: int, show: Display | None) -> None:
        taken = labels >= 0
        self.labels, self.n = labels, n
        self.rows, self.columns = np.nonzero(taken)
        self.inside = labels[taken]
        self.pixels = np.bincount(self.inside, minlength=n)
        self.original = found.original
        self.show = display_of(found.original, taken) if show is None else show

    def mean(self, values: NdArray) -> NdArray:
        """Of values [H, W] in each part; NaN where it has no pixels."""
        return self._mean(values[self.rows, self.columns])

    def _mean(self, values: NdArray) -> NdArray:
        with np.errstate(invalid="ignore"):
            return np.bincount(self.inside, values, minlength=self.n) / self.pixels

    def size(self) -> dict[str, NdArray]:
        return {"pixels": self.pixels, "share": self.pixels / len(self.inside)}

    def colour(self) -> dict[str, NdArray]:
        values = self.original[self.rows, self.columns]
        means = np.stack([self._mean(band) for band in values.T], axis=-1)
        empty = self.pixels == 0
        whole = values.dtype.kind in "iu"
        filled = np.where(empty[:, None], 0, np.rint(means) if whole else means)
        shown = Display(self.show.black, self.show.white)(filled.astype(values.dtype)[None])[0]
        codes = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in shown.tolist()]
        means = np.round(means, _DECIMALS) if whole else means
        names = np.array(codes, object)
        names[empty] = ""
        return {**dict(zip(_BANDS, means.T, strict=True)), "hex": names}

    def covariance(self) -> dict[str, NdArray]:
        values = self.original[self.rows, self.columns].astype(np.float64)
        centred = {
            name: band - np.nan_to_num(self._mean(band))[self.inside]
            for name, band in zip(_BANDS, values.T, strict=True)
        }
        red, green, blue = _BANDS
        return {
            **{f"var_{name}": self._mean(band**2) for name, band in centred.items()},
            **{
                f"cov_{one}_{other}": self._mean(centred[one] * centred[other])
                for one, other in ((red, green), (red, blue), (green, blue))
            },
        }

    def place(self) -> dict[str, NdArray]:
        from scipy.ndimage import find_objects

        boxes = np.full((self.n, 4), -1)
        for i, box in enumerate(find_objects(self.labels + 1, max_label=self.n)):
            if box is not None:
                down, right = box
                boxes[i] = right.start, down.start, right.stop - 1, down.stop - 1
        near = np.empty(self.n, object)
        near[:] = [" ".join(map(str, found)) for found in neighbours(self.labels, self.n)]
        return {
            "x": self._mean(self.columns),
            "y": self._mean(self.rows),
            **dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True)),
            "neighbours": near,
        }


def write_table(path: str | os.PathLike[str], table: Mapping[str, NdArray]) -> None:
    r"""Write columns of one length as CSV, with names above; what is not a number is empty.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "a.csv")
        ...     write_table(path, {"segment": np.array([0, 1]), "x": np.array([0.5, np.nan])})
        ...     path.read_text()
        'segment,x\n0,0.5\n1,\n'
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*(column.tolist() for column in table.values()), strict=True):
        writer.writerow(["" if value != value else value for value in row])
    write_whole(path, file.getvalue().encode())
