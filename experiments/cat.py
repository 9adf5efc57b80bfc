"""The figure of experiments/SEGMENTS.md of plain against spatial segments: a cat, three times.

python -m experiments.cat [-o FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jgmm
from jgmm.cli.outputs import overlay
from jgmm.image import RECOMMENDED, write_png

FIGURE = Path(__file__).parent / "figures" / "spatial.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the figure, and print how many connected parts each segmentation has."""
    from skimage import data

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("-o", dest="path", type=Path, default=FIGURE)
    given = parser.parse_args(arguments)
    chelsea: Any = data.chelsea  # untyped
    picture = np.asarray(chelsea())
    plain = jgmm.segment(picture, 5)
    spatial = jgmm.segment(picture, "auto", **RECOMMENDED)
    gap = np.full((len(picture), 6, 3), 255, np.uint8)
    panels = [picture, gap, plain.image, gap, overlay(picture, spatial.regions)]
    write_png(given.path, np.concatenate(panels, axis=1))
    k = spatial.fit.mixture.n_components
    print(f"plain, k = 5: {plain.regions.max() + 1} connected parts")
    print(f"recommended, k = {k}: {spatial.regions.max() + 1} regions")


if __name__ == "__main__":
    main()
