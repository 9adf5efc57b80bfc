"""What there is to say of each segment, in numbers: a table, and its file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.em.result import FitResult

NdArray = npt.NDArray[Any]


def segment_table(
    labels: NdArray, image: NdArray, certainty: NdArray, regions: NdArray, fit: FitResult
) -> dict[str, NdArray]:
    """A row for each component, as columns of one length.

    ``segment``; ``pixels``; ``share`` of those that take part; ``weight`` of the component;
    ``red``, ``green``, ``blue`` of the mean colour, in the units of the image (of many bands the
    first three, of a grey image the same thrice); ``certainty``, the mean; ``regions``, how many
    connected parts; ``x``, ``y``, the center; ``left``, ``top``, ``right``, ``bottom``, the first
    and last columns and rows. What a segment without pixels does not have is NaN, or -1 in whole
    numbers.

    Args:
        labels: [H, W], -1 where left out.
        image: [H, W, 3], each pixel in the mean colour of its segment.
        certainty: [H, W].
        regions: [H, W], -1 where left out.
        fit: the mixture.
    """
    from scipy.ndimage import find_objects

    k = fit.mixture.n_components
    rows, columns = np.nonzero(labels >= 0)
    inside = labels[rows, columns]
    pixels = np.bincount(inside, minlength=k)

    def mean(values: NdArray) -> NdArray:
        with np.errstate(invalid="ignore"):
            return np.bincount(inside, values, minlength=k) / pixels

    first = np.zeros(k, np.intp)  # of each segment, one of its pixels
    first[inside] = np.arange(len(inside))
    colours = image[rows[first], columns[first]]
    if colours.dtype.kind != "f":
        colours = colours.astype(np.int64)
    colours[pixels == 0] = -1 if colours.dtype.kind == "i" else np.nan
    parts = np.unique(np.stack([inside, regions[rows, columns]]), axis=1)[0]
    boxes = np.full((k, 4), -1)
    for i, box in enumerate(find_objects(labels + 1, max_label=k)):
        if box is not None:
            down, right = box
            boxes[i] = right.start, down.start, right.stop - 1, down.stop - 1
    return {
        "segment": np.arange(k),
        "pixels": pixels,
        "share": pixels / len(inside),
        "weight": np.asarray(fit.mixture.weights),
        **dict(zip(("red", "green", "blue"), colours.T, strict=True)),
        "certainty": mean(certainty[rows, columns]),
        "regions": np.bincount(parts, minlength=k),
        "x": mean(columns),
        "y": mean(rows),
        **dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True)),
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
    for row in zip(*table.values(), strict=True):
        writer.writerow(["" if value != value else value.item() for value in row])
    write_whole(path, file.getvalue().encode())
