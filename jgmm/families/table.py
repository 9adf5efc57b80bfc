"""The covariance families by name. A new one is a class in a file of its own and a line here."""

from __future__ import annotations

from typing import Any

from jgmm._checks import one_of
from jgmm.families.family import Family
from jgmm.families.matrices import Full, Tied
from jgmm.families.variances import Diag, Spherical

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Full(), Tied(), Diag(), Spherical())
}


def family_of(name: Any, argument: str = "covariance_type") -> Family:
    """The family that a caller names; a `Family` stands for itself.

    Raises:
        ValueError: an unknown name.
    """
    return name if isinstance(name, Family) else FAMILIES[one_of(argument, name, FAMILIES)]


def inferred(shape: tuple[int, ...], n_components: int, n_features: int) -> Family:
    """The family that covariances of this shape belong to.

    Where several coincide (one component, or one feature) it is the first in the table.
    """
    for family in FAMILIES.values():
        if family.shape(n_components, n_features) == shape:
            return family
    shapes = ", ".join(f"{n} {f.shape(n_components, n_features)}" for n, f in FAMILIES.items())
    raise ValueError(f"covariances: expected the shape of {shapes}; got {shape}")
