"""The covariance families by name. A new one is a class in a file of its own and a line here."""

from __future__ import annotations

from typing import Any

from jgmm._checks import one_of
from jgmm.families.common_axes import EVE, VEE, VVE
from jgmm.families.family import Family
from jgmm.families.matrices import Full, Tied
from jgmm.families.own_axes import EEV, EVV, VEV
from jgmm.families.restrained_variances import EVI, VEI
from jgmm.families.shared_variances import EEI, EII
from jgmm.families.variances import Diag, Spherical

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(Full(), Tied(), Diag(), Spherical()),
        *(EII(), EEI(), VEI(), EVI(), VEE(), EVE(), VVE(), EEV(), VEV(), EVV()),
    )
}

# The other names that mclust has for some; those of one letter are for one feature.
SYNONYMS = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
_OF_ONE_FEATURE = {"E": "tied", "V": "full"}
NAMES = (*FAMILIES, *SYNONYMS, *_OF_ONE_FEATURE)

# mclust's fourteen, in its order, by the names that they have here.
MCLUST = tuple(
    SYNONYMS.get(name, name)
    for name in "EII VII EEI VEI EVI VVI EEE VEE EVE VVE EEV VEV EVV VVV".split()
)


def family_of(
    name: Any, argument: str = "covariance_type", n_features: int | None = None
) -> Family:
    """The family that a caller names; a `Family` stands for itself.

    Raises:
        ValueError: an unknown name, or one that is for one feature where there are more.
    """
    if isinstance(name, Family):
        return name
    name = one_of(argument, name, NAMES)
    if name in _OF_ONE_FEATURE:
        if n_features is not None and n_features != 1:
            raise ValueError(
                f"{argument}: expected a family for {n_features} features, got {name}, which is "
                f"for one; {_OF_ONE_FEATURE[name]} is like it"
            )
        name = _OF_ONE_FEATURE[name]
    return FAMILIES[SYNONYMS.get(name, name)]


def families_of(names: Any, n_features: int, argument: str = "covariance_types") -> list[str]:
    """The names of several families; "mclust" stands for all that mclust has.

    Raises:
        ValueError: an unknown name, one family twice, or none.
    """
    if isinstance(names, str):
        one_of(argument, names, ("mclust",))
        # Of one feature there are but two.
        names = MCLUST if n_features > 1 else tuple(_OF_ONE_FEATURE)
    found = [family_of(name, argument, n_features).name for name in names]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{argument}: expected different families, got {list(names)}")
    return found


def inferred(shape: tuple[int, ...], n_components: int, n_features: int) -> Family:
    """The family that covariances of this shape belong to.

    Where several coincide (one component, or one feature) it is the first in the table.
    """
    for family in FAMILIES.values():
        if family.shape(n_components, n_features) == shape:
            return family
    shapes = ", ".join(f"{n} {f.shape(n_components, n_features)}" for n, f in FAMILIES.items())
    raise ValueError(f"covariances: expected the shape of {shapes}; got {shape}")
