"""What a run tile by tile will take of memory and of time, as it is said before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jgmm.cli import memory
from jgmm.cli.about import taken as taken_of
from jgmm.cli.cutting import bands_of
from jgmm.cli.fits import Monitor
from jgmm.cli.options import Options
from jgmm.image.bands import Banded
from jgmm.image.recipe import n_features
from jgmm.image.settings import CANDIDATES
from jgmm.image.tiles import TILE

FITTED = 1 << 24  # pixels that a fit is to, of those whose colours are not counted

# As measured on one core, of which images and programs may take a half or the double.
_RATE = 4e6  # pixels a second that are labelled
_COMPILED = 6.0  # seconds until a fit begins that no other process has kept compiled
_STEP = 2.5e-10  # seconds of a step for each sample, component, and number of its statistics
_STEPS = 10, 100  # of the fit of a k: few where components lie apart, many where they overlap


def counts_colours(dtype: np.dtype, channels: int) -> bool:
    """Whether a fit is to all colours of an image, which are counted."""
    return dtype == np.uint8 and channels <= 3


def samples_at_most(dtype: np.dtype, channels: int, pixels: int) -> int:
    """How many samples the fit to an image of so many pixels is to."""
    most = 256**channels if counts_colours(dtype, channels) else FITTED
    return min(pixels, most)


def memory_of_fit(n_samples: int, channels: int, options: Options) -> int:
    """Bytes that a fit takes."""
    itemsize = np.dtype(options.dtype).itemsize
    d = n_features(options.features, channels)
    return memory.needed(n_samples, d, few_colours=False, itemsize=itemsize)


def seconds_of_fits(n_samples: int, channels: int, options: Options) -> tuple[float, float]:
    """What the fits of all k take, if they come soon to their ends, and if not.

    Example:
        >>> few, many = seconds_of_fits(10_000_000, 3, Options(ks=(3, 5)))
        >>> round(few), round(many)
        (3, 32)
    """
    d = n_features(options.features, channels)
    components = sum(options.ks or CANDIDATES)
    if options.search == "none" or options.bayes:  # otherwise one start goes on with all samples
        components *= options.restarts
    step = _STEP * n_samples * components * (1 + d + d * d)
    few, many = (step * min(n, options.max_iter) for n in _STEPS)
    return few, _COMPILED + many


def expect(
    image: Banded, source: Path, n_passes: float, monitor: Monitor, fit: Options | None = None
) -> None:
    """Say what a run will take, and refuse it where there is less memory.

    Args:
        image: what it is of.
        source: its file.
        n_passes: over the image, which are to be made still; of one that was begun, a part.
        monitor: who is told.
        fit: how every k will be fitted; None where that is done. How many colours that is to is not
            known yet, so `expect_fits` looks again.
    """
    first = image.rows(0, 1)
    channels, dtype = first.pixels.shape[2], first.pixels.dtype
    pixels = image.height * image.width
    taken = most = memory.needed(TILE * image.width, channels, few_colours=dtype.kind in "iu")
    seconds = longest = pixels * n_passes / _RATE
    n = len(bands_of(image))
    steps = n
    if fit is not None:
        n_samples = samples_at_most(dtype, channels, pixels)
        most = max(most, memory_of_fit(n_samples, channels, fit))
        longest += seconds_of_fits(n_samples, channels, fit)[1]
        steps += len(fit.ks or CANDIDATES) * fit.restarts
    memory.expect(taken, f"{image.width} x {image.height} pixels, tile by tile,", source)
    room = memory.size(most) if most == taken else f"{memory.size(taken)} to {memory.size(most)}"
    page = f"{taken_of([first])}, " if taken_of([first]) else ""
    monitor.begin(
        source.name,
        f"{page}{image.width} x {image.height} pixels tile by tile, in {n} bands; about "
        f"{room} of memory beside the program's own, and about {span(seconds, longest)}",
        steps,
        doing="labelling" if fit is None else "reading",
    )


def expect_fits(
    counts: np.ndarray, channels: int, source: Path, options: Options, monitor: Monitor
) -> None:
    """The same of the fits alone, as soon as it is known how many samples [M] they are to."""
    n = len(counts)
    taken = memory_of_fit(n, channels, options)
    memory.expect(taken, f"a fit to {n:,} samples", source)
    said = span(*seconds_of_fits(n, channels, options))
    monitor.step(f"{int(counts.sum()):,} pixels, {n:,} different; to fit takes about {said}", 0)


def span(low: float, high: float) -> str:
    """From so many seconds to so many, in words.

    Example:
        >>> span(1.2, 1.2), span(0, 6), span(67, 98), span(67, 190)
        ('a second', '1 to 6 seconds', '67 to 98 seconds', '1 to 3 minutes')
    """
    unit, size = ("minutes", 60) if high >= 100 else ("seconds", 1)
    a, b = (max(round(value / size), 1) for value in (low, high))
    if b == 1:
        return "a second"
    return f"{b} {unit}" if a == b else f"{a} to {b} {unit}"
