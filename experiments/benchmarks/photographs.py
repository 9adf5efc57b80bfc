"""What benchmarks measure on: photographs, and samples that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jgmm.image import read_image, sample_image

PHOTOGRAPH = Path(__file__).parents[3] / "shared" / "data" / "scenery.jpg"
DATA = PHOTOGRAPH.parent / "bsds-train"


def photograph() -> Any:
    """The shared photograph, or the built-in one where that is absent."""
    return (read_image(PHOTOGRAPH) if PHOTOGRAPH.exists() else sample_image()).pixels


def wide_samples() -> Any:
    """100,000 samples of 32 features around 32 centers."""
    rng = np.random.default_rng(0)
    centers = 2 * rng.normal(size=(32, 32))
    x = centers[rng.integers(0, 32, 100_000)] + rng.normal(size=(100_000, 32))
    return x.astype(np.float32)
