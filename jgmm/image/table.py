"""What there is to say of each segment and each region, in numbers: tables, and their files."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.image.band_names import names_of
from jgmm.image.borders import neighbours
from jgmm.image.display import Display, display_of

if TYPE_CHECKING:
    from jgmm.image.segmentation import Segmentation

NdArray = npt.NDArray[Any]
_DECIMALS = 2  # of means of whole numbers
_MOST_PAIRS = 16  # of more bands there are variances alone
_OTHERS = (
    "segment region pixels share weight hex certainty regions x y left top right bottom neighbours"
).split()


def segment_table(found: Segmentation, show: Display | None = None) -> dict[str, NdArray]:
    """A row for each component, as columns of one length.

    ``segment``; ``pixels``; ``share`` of those that take part; ``weight`` of the component;
    ``red``, ``green``, ``blue`` of the mean colour, in the units of the image, to two decimals
    where its values are whole numbers (of a grey image the same thrice), and ``hex``, how that is
    shown; the covariance of these over the pixels of the segment, ``var_red`` to
    ``cov_green_blue``; ``certainty``, the mean; ``regions``, how many connected parts; ``x``,
    ``y``, the center; ``left``, ``top``, ``right``, ``bottom``, the first and last columns and
    rows; ``neighbours``, the numbers of the segments that touch it, with spaces between. What a
    segment without pixels does not have is NaN, or -1 in whole numbers.

    Of two bands, and of four and more, means and covariances are of all of them, in columns called
    as the file names the bands, or ``band_1``, ``band_2`` and so on; a file that names three has
    their names, too. Of more than 16 bands there are variances alone.

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


def values_of(found: Segmentation) -> tuple[NdArray, tuple[str, ...]]:
    """All bands of an image [H, W, C], a grey one thrice, and what the columns of each are called.

    Example:
        >>> import jgmm
        >>> scene = np.zeros((4, 6, 5), np.uint16)
        >>> values_of(jgmm.segment(scene, 1, features="bands"))[1]
        ('band_1', 'band_2', 'band_3', 'band_4', 'band_5')
    """
    values = found.original if found.bands is None else found.bands
    return values, columns_of(found.setup.channels, found.setup.band_names)


def columns_of(channels: int, given: Sequence[str] = ()) -> tuple[str, ...]:
    """What the columns of each band are called: `names_of`, if no other column has such a name."""
    names = names_of(channels, given)
    columns = [*_OTHERS, *names, *_moments(names)]
    return names if len(columns) == len(set(columns)) else names_of(channels)


def _moments(names: Sequence[str]) -> list[str]:
    """The columns of variances, and of covariances if bands are not too many."""
    pairs = itertools.combinations(names, 2) if len(names) <= _MOST_PAIRS else ()
    return [*(f"var_{name}" for name in names), *(f"cov_{one}_{other}" for one, other in pairs)]


class _Parts:
    """Sums over the parts of an image, each of which has a number."""

    def __init__(self, found: Segmentation, labels: NdArray, n: int, show: Display | None) -> None:
        taken = labels >= 0
        self.labels, self.n = labels, n
        self.rows, self.columns = np.nonzero(taken)
        self.inside = labels[taken]
        self.pixels = np.bincount(self.inside, minlength=n)
        values, self.names = values_of(found)
        self.values = values[taken].T if not taken.all() else values.reshape(-1, values.shape[2]).T
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
        means = np.stack([self._mean(band) for band in self.values], axis=-1)
        empty, dtype = self.pixels == 0, self.values.dtype
        whole = dtype.kind in "iu"
        filled = np.where(empty[:, None], 0, np.rint(means) if whole else means)
        shown = Display(self.show.black, self.show.white)(filled.astype(dtype)[None])[0]
        codes = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in shown.tolist()]
        means = np.round(means, _DECIMALS) if whole else means
        names = np.array(codes, object)
        names[empty] = ""
        return {**dict(zip(self.names, means.T, strict=True)), "hex": names}

    def covariance(self) -> dict[str, NdArray]:
        columns, n = _moments(self.names), len(self.names)
        means = [np.nan_to_num(self._mean(band)) for band in self.values]

        def centred(i: int) -> NdArray:  # made anew for each pair: two at a time are held
            return np.asarray(self.values[i] - means[i][self.inside], np.float64)

        variances, pairs = [], []
        for i in range(n):
            one = centred(i)
            variances.append(self._mean(one**2))
            if len(columns) > n:
                pairs += [self._mean(one * centred(j)) for j in range(i + 1, n)]
        return dict(zip(columns, [*variances, *pairs], strict=True))

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
