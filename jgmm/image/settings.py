"""What a caller chooses about how labels and regions see their neighbours."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from jgmm._checks import LARGEST, as_count, as_number, one_of
from jgmm.image.hierarchy import Hierarchy

# Beyond these nothing sensible is asked for, and what is asked for might never end.
_SMOOTHING = {
    "width": (1e-4, 1.0),
    "unary": (0.0, 1e4),
    "coupling": (0.0, 1e4),
    "n_sweeps": (0, 1000),
}
MOST_BETA = 1e4
MOST_SEGMENTS = 1000


def check_beta(beta: Any) -> None:
    """Refuse what is neither "auto" nor a number that ties neighbours."""
    if isinstance(beta, str):
        one_of("beta, if not a number", beta, ("auto",))
    else:
        as_number("beta", beta, 0, MOST_BETA)


def _smoothing(settings: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Settings of `jgmm.image.spatial.smooth`, if they are within bounds."""
    for name, value in settings.items():
        if name not in _SMOOTHING:
            known = ", ".join(_SMOOTHING)
            raise ValueError(f"smooth: expected settings {known}; got {reprlib.repr(name)}")
        as_number(f"smooth: {name}", value, *_SMOOTHING[name], whole=name == "n_sweeps")
    return tuple(sorted(settings.items()))


@dataclasses.dataclass(frozen=True)
class Spatial:
    """How labels and regions see their neighbours; see `segment`."""

    smooth: bool | Mapping[str, float] | tuple[tuple[str, float], ...] = False
    noise_model: str | None = None
    beta: float | str = "auto"
    min_region: float = 0
    merge: float = 0.0
    n_regions: int | None = None

    def __post_init__(self) -> None:
        """Check what a caller chose, and keep it in a form that can be hashed."""
        if isinstance(self.smooth, Mapping):
            object.__setattr__(self, "smooth", _smoothing(self.smooth))
        elif not isinstance(self.smooth, bool | tuple):
            raise TypeError(f"smooth: expected a bool or settings, got {reprlib.repr(self.smooth)}")
        if not (self.noise_model is None or self.noise_model == "potts"):
            raise ValueError(
                f"noise_model: expected None or 'potts', got {reprlib.repr(self.noise_model)}"
            )
        if self.noise_model and self.smooth:
            raise ValueError("smooth: expected False with noise_model, which smooths by itself")
        for name in ("min_region", "merge"):
            as_number(name, getattr(self, name), 0, LARGEST)
        if self.n_regions is not None:
            as_count("n_regions", self.n_regions)
            if self.merge:
                raise ValueError("expected one of merge and n_regions, got both")
        check_beta(self.beta)

    @property
    def smoothing(self) -> dict[str, Any]:
        """Options for `smooth`."""
        return dict(self.smooth) if isinstance(self.smooth, tuple) else {}

    @property
    def as_drawn(self) -> bool:
        """Whether regions are the connected parts of labels as they are."""
        return not (self.min_region or self.merge or self.n_regions)

    def cut(self, tree: Hierarchy) -> npt.NDArray[Any]:
        """The regions of a hierarchy that are asked for."""
        if self.n_regions is not None:
            return tree.cut(n_regions=self.n_regions)
        return tree.cut(merge=self.merge)

    @property
    def rule(self) -> str:
        """How k is chosen, unless told otherwise."""
        return "bic" if self.merge or self.n_regions else "knee"


NOT_SPATIAL = Spatial()
# Segments of photographs such as people would draw: see experiments/NOTES-segmentation.md.
RECOMMENDED: Mapping[str, Any] = MappingProxyType(
    {
        "features": "lab",
        "smooth": {"unary": 1.0},
        "min_region": 100,
        "merge": 3.2,
    }
)
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
