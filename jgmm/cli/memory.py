"""What a run will take of memory, so that what cannot fit is refused before it starts."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jgmm.cli.options import JobError, Options
from jgmm.image.files import Image
from jgmm.image.recipe import n_features

# Bytes as measured on images of 1 to 12 million pixels, rather too few: what is refused cannot fit.
_PIXEL_OF_FEW_COLOURS, _FEATURE_OF_FEW_COLOURS = 55, 10
_PIXEL, _FEATURE = 80, 5  # per byte of a feature
_SPATIAL = 80
# While regions are merged: of a pixel, of a part, and for each column of its table of cues, which
# has so many for textures and one for each component. A photograph has parts for K of 1000 pixels
# or more, unless it is very smooth, and of these one in 8 or fewer has `min_region` pixels.
_MERGED, _PART, _CUE, _TEXTURES = 10, 1500, 40, 36
_PARTS = 1 / 1000
_POTTS, _POTTS_COMPONENT = 500, 60


def needed(
    n_pixels: int,
    n_features: int,
    *,
    few_colours: bool,
    itemsize: int = 4,
    spatial: bool = False,
    merged_components: int = 0,
    min_region: int = 0,
    potts_components: int = 0,
    n_pictures: int = 0,
) -> int:
    """Bytes that segmenting an image takes, beyond those that it is held in.

    Args:
        n_pixels: all of them.
        n_features: of each.
        few_colours: whether only the distinct colours are samples.
        itemsize: bytes of a number.
        spatial: whether labels see their neighbours, or regions are joined.
        merged_components: of the mixture by which regions are joined, 0 for none.
        min_region: regions of fewer pixels are absorbed before that.
        potts_components: of the mixture of a Potts fit, 0 for none.
        n_pictures: in mean colours, that are kept for a figure.

    Example:
        >>> needed(12_000_000, 3, few_colours=True) / 1e9
        1.02
    """
    if few_colours:
        each = _PIXEL_OF_FEW_COLOURS + _FEATURE_OF_FEW_COLOURS * n_features
    else:
        each = _PIXEL + _FEATURE * n_features * itemsize
    beyond = _SPATIAL if spatial else 0.0
    if merged_components:
        parts = _PARTS * merged_components
        regions = min(parts, 1 / (8 * max(min_region, 1)))
        table = regions * _CUE * (_TEXTURES + merged_components)
        beyond = max(beyond, _MERGED + parts * _PART + table)
    each += math.ceil(beyond)
    if potts_components:
        each += _POTTS + _POTTS_COMPONENT * potts_components
    return n_pixels * (each + 3 * n_pictures)


def available() -> int:
    """Bytes that this process can still have; a great many where nothing says how many."""
    return min(_limits(), default=sys.maxsize)


def expect_room(pages: Sequence[Image], options: Options, *, tiles: bool = False) -> None:
    """Raise a JobError, which says how much the run would take, if there is less.

    Args:
        pages: that are held already.
        options: of the run, or of the fit of a model that is applied.
        tiles: whether less would be taken tile by tile.
    """
    height, width, channels = pages[0].pixels.shape
    place = options.features.endswith("+xy")
    taken = needed(
        sum(page.pixels.shape[0] * page.pixels.shape[1] for page in pages),
        n_features(options.features, channels),
        few_colours=pages[0].pixels.dtype.kind in "iu" and not place,
        itemsize=8 if options.dtype == "float64" else 4,
        spatial=bool(options.smooth or options.min_region or options.merge or options.regions),
        merged_components=0 if options.spatial.as_drawn else max(options.ks, default=3),
        min_region=options.min_region,
        potts_components=0 if options.noise_model is None else max(options.ks, default=3),
        n_pictures=len(options.ks),
    )
    what = f"{width} x {height} pixels" + (f" of {len(pages)} pages" if len(pages) > 1 else "")
    advice = "--tiled or a smaller image" if tiles else "a smaller image"
    expect(taken, what, pages[0].source, advice)


def expect(taken: int, what: str, source: Path, advice: str = "a smaller image") -> None:
    """Raise a JobError, with advice what to try, if there are fewer bytes than will be taken."""
    there = available()
    if taken > there:
        raise JobError(
            f"{what} would take about {size(taken)} of memory, and {size(there)} are "
            f"free; try {advice}: {source}"
        )


def size(n: int) -> str:
    """So many bytes, in words."""
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"


def _limits() -> Iterator[int]:
    """What each of those that limit memory leaves."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
        yield known["MemAvailable"] + known.get("SwapFree", 0)
    except (OSError, KeyError, ValueError, IndexError):
        pass  # another system
    try:  # of a container
        most = int(Path("/sys/fs/cgroup/memory.max").read_text())
        yield max(most - int(Path("/sys/fs/cgroup/memory.current").read_text()), 0)
    except (OSError, ValueError):
        pass
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            yield max(most - used, 0)
    except (ImportError, OSError, ValueError):
        pass
