"""What a page has of one segmentation: label maps small enough to travel in it, and numbers."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.display import Display
from jgmm.image.hierarchy import Hierarchy, connected_parts
from jgmm.image.painting import vote
from jgmm.image.segmentation import Segmentation
from jgmm.image.table import values_of
from jgmm.image.trees import Trees

NdArray = npt.NDArray[Any]
MOST_REGIONS, MOST_BANDS = 300, 12
_PIXELS, _ALL_PIXELS = 420_000, 3_000_000  # of one picture, and of the pictures of a page
_SPECK = 5000  # parts smaller than such a share of the picture are absorbed, if none is told


def stride_for(shape: tuple[int, ...], n_pictures: int) -> int:
    """Every how many rows and columns a page shows of an image [H, W].

    Example:
        >>> stride_for((427, 640), 4), stride_for((3000, 4000), 4), stride_for((427, 640), 40)
        (1, 6, 2)
    """
    most = min(_PIXELS, _ALL_PIXELS / max(n_pictures, 1))
    return max(1, math.ceil(math.sqrt(shape[0] * shape[1] / most)))


def scene_of(
    found: Segmentation, table: Mapping[str, NdArray], show: Display, stride: int
) -> dict[str, Any]:
    """A segmentation as plain values for JSON.

    Label maps are compressed, as `packed` does: of segments, and of at most `MOST_REGIONS` regions,
    which ``merges`` joins, two at a time. Of more than `MOST_BANDS` bands there are the first.

    Args:
        found: the segmentation.
        table: its `jgmm.image.table.segment_table`.
        show: how colours are shown.
        stride: of the rows and columns that are shown.
    """
    every = (slice(None, None, stride), slice(None, None, stride))
    labels = found.labels[every]
    values, names = values_of(found)
    bands = 1 if found.setup.channels == 1 else min(len(names), MOST_BANDS)
    tree, known, specks = _tree(found, stride)
    seen = values[..., :bands]
    seen = seen if tree.parts.shape == found.labels.shape else seen[every]
    leaves, merges = _leaves(tree)
    shown = leaves[tree.parts] if tree.parts.shape == labels.shape else leaves[tree.parts[every]]
    k = found.fit.mixture.n_components
    return {
        "k": k,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "labels": packed(np.where(labels < 0, 65535, labels).astype("<u2")),
        "certainty": packed(np.rint(15 * np.clip(found.certainty[every], 0, 1)).astype(np.uint8)),
        "leaves": packed(np.where(shown < 0, 65535, shown).astype("<u2")),
        "merges": merges,
        "regions": _region_numbers(leaves[tree.parts], found.labels, seen, known, stride),
        "known": _known_leaves(leaves[tree.parts], known),
        "n_regions": int(found.regions.max()) + 1,
        "specks": specks,
        "segments": _segment_numbers(table, names[:bands]),
        "bands": list(names[:bands]) if bands > 1 else [],
        "black": show.black,
        "white": show.white,
    }


def packed(values: NdArray) -> str:
    """An array as text: its bytes by Deflate, and those in base 64."""
    return base64.b64encode(zlib.compress(values.tobytes(), 6)).decode("ascii")


def _tree(found: Segmentation, stride: int) -> tuple[Hierarchy, NdArray | None, int]:
    """All scales, the known labels of that image, and of how many pixels its least parts are.

    Where labels were not joined a tree of every speck would take seconds, and nobody would look at
    the specks.
    """
    spatial = found.setup.spatial
    if not spatial.as_drawn:
        return found.hierarchy, found.known, math.ceil(spatial.min_region)
    labels = np.ascontiguousarray(found.labels[::stride, ::stride])
    original = np.ascontiguousarray(found.original[::stride, ::stride])
    known = None if found.known is None else _reduced(found.known, stride)
    if known is not None:
        labels = np.where((known >= 0) & (labels >= 0), known, labels)
    least = max(2, labels.size // _SPECK)
    tree = Trees().of(connected_parts(labels), original, least, found.fit.mixture, known)
    return tree, known, least * stride**2


def _reduced(known: NdArray, stride: int) -> NdArray:
    """Known labels of every so many rows and columns, where thin scribbles are kept.

    Example:
        >>> _reduced(np.array([[-1, -1, -1, 2, -1]] * 2), 2).tolist()
        [[-1, 2, -1]]
    """
    height, width = known.shape
    more = ((0, -height % stride), (0, -width % stride))
    padded = np.pad(known, more, constant_values=-1)
    shape = (padded.shape[0] // stride, stride, padded.shape[1] // stride, stride)
    return np.asarray(padded.reshape(shape).max(axis=(1, 3)))


def _leaves(tree: Hierarchy) -> tuple[NdArray, list[list[int]]]:
    """For each part [P + 1] its region of the finest cut for a page, -1 for what is left out.

    And pairs of them, the one that goes and the one that stays, in the order of merging.
    """
    names = tree.names(n_regions=MOST_REGIONS)
    roots, index = np.unique(names, return_inverse=True)
    later = roots[tree.steps[roots] < len(tree.costs)]  # of these each goes some time
    later = later[np.argsort(tree.steps[later], kind="stable")]
    pairs = np.stack([index[later], index[tree.parents[later]]], axis=-1)
    return np.append(index, -1), pairs.tolist()


def _known_leaves(leaves: NdArray, known: NdArray | None) -> list[int]:
    """Which regions have known pixels: these alone say what segment a region is of."""
    return [] if known is None else np.unique(leaves[(known >= 0) & (leaves >= 0)]).tolist()


def _region_numbers(
    leaves: NdArray,
    labels: NdArray,
    values: NdArray,
    known: NdArray | None,
    stride: int,
) -> list[list[float]]:
    """For each region its share of pixels, its segment, and mean and variance of each band."""
    inside = leaves >= 0
    flat = leaves[inside]
    n = int(leaves.max()) + 1
    pixels = np.bincount(flat, minlength=n)
    voters = labels if labels.shape == leaves.shape else labels[::stride, ::stride]
    if known is not None:
        voters = np.where(known >= 0, known, voters)
    segments = np.zeros(n, np.int64)
    segments[flat] = vote(leaves, voters, None if known is None else known >= 0)[inside]
    columns: list[NdArray] = [pixels / len(flat), segments]
    for values_of_band in values[inside].T:
        band = values_of_band.astype(np.float64)
        mean = np.bincount(flat, band, minlength=n) / pixels
        variance = np.bincount(flat, (band - mean[flat]) ** 2, minlength=n) / pixels
        columns += [mean, variance]
    return [[_short(value) for value in row] for row in np.stack(columns, axis=-1).tolist()]


def _segment_numbers(table: Mapping[str, NdArray], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "pixels": int(table["pixels"][i]),
            "share": _short(table["share"][i]),
            "hex": table["hex"][i],
            "mean": [_short(table[name][i]) for name in names],
            "spread": [_short(math.sqrt(table[f"var_{name}"][i])) for name in names],
            "certainty": _short(table["certainty"][i]),
        }
        for i in range(len(table["pixels"]))
    ]


def _short(value: float) -> float:
    """To six digits, which is what anybody reads; 0 for what an empty segment does not have."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else 0.0


@dataclasses.dataclass(frozen=True)
class Photograph:
    """The picture that is segmented, as a page shows it."""

    source: str  # a data URL
    width: int
    height: int


def photograph_of(picture: NdArray, stride: int) -> Photograph:
    """A picture [H, W, 3] or with alpha [H, W, 4], uint8, in the size of the scenes."""
    from PIL import Image

    height, width = picture[::stride, ::stride].shape[:2]
    image = Image.fromarray(np.ascontiguousarray(picture))
    if stride > 1:
        image = image.resize((width, height), Image.Resampling.BOX)
    drawn = io.BytesIO()
    kind = "png" if picture.shape[-1] == 4 else "jpeg"
    image.save(drawn, format=kind, **({"quality": 88} if kind == "jpeg" else {}))
    text = base64.b64encode(drawn.getvalue()).decode("ascii")
    return Photograph(f"data:image/{kind};base64,{text}", width, height)
