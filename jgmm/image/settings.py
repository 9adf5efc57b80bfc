"""What a caller chooses about how labels and regions see their neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Spatial:
    """How labels and regions see their neighbours; see `segment`."""

    smooth: bool | Mapping[str, float] | tuple[tuple[str, float], ...] = False
    noise_model: str | None = None
    beta: float | str = "auto"
    min_region: float = 0
    merge: float = 0.0

    def __post_init__(self) -> None:
        """Check what a caller chose, and keep it in a form that can be hashed."""
        if isinstance(self.smooth, Mapping):
            object.__setattr__(self, "smooth", tuple(sorted(self.smooth.items())))
        if self.noise_model not in (None, "potts"):
            raise ValueError(f"noise_model: expected None or 'potts', got {self.noise_model!r}")
        if self.noise_model and self.smooth:
            raise ValueError("smooth: expected False with noise_model, which smooths by itself")
        for name in ("min_region", "merge"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < np.inf):
                raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")

    @property
    def smoothing(self) -> dict[str, Any]:
        """Options for `smooth`."""
        return dict(self.smooth) if isinstance(self.smooth, tuple) else {}

    @property
    def rule(self) -> str:
        """How k is chosen, unless told otherwise."""
        return "bic" if self.merge else "knee"


NOT_SPATIAL = Spatial()
# Segments of photographs such as people would draw: see experiments/NOTES-segmentation.md.
RECOMMENDED: dict[str, Any] = {
    "features": "lab",
    "smooth": {"unary": 1.0},
    "min_region": 100,
    "merge": 5.5,
}
CANDIDATES = (3, 4, 5, 6, 7, 8, 10)  # what k = "auto" chooses from


def candidates(labels: npt.NDArray[Any] | None = None) -> tuple[int, ...]:
    """Of `CANDIDATES` those that have a component for each of the labels.

    Raises:
        ValueError: more labels than the most of them.
    """
    least = 1 if labels is None else int(labels.max()) + 1
    if least > CANDIDATES[-1]:
        raise ValueError(
            f"k: expected a number of at least {least}, as many as there are labels, got 'auto', "
            f"which takes at most {CANDIDATES[-1]}"
        )
    return tuple(k for k in CANDIDATES if k >= least)
