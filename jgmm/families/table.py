"""The covariance families by name. A new one is a class in a file of its own and a line here."""

from __future__ import annotations

import functools
import re
from typing import Any

from jgmm._checks import as_count, one_of
from jgmm.families.common_axes import EVE, VEE, VVE
from jgmm.families.factor import Factor
from jgmm.families.family import Family
from jgmm.families.matrices import Full, Tied
from jgmm.families.own_axes import EEV, EVV, VEV
from jgmm.families.ppca import Ppca
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
# Those of a rank, which is a part of their name: factor(3).
OF_RANK: dict[str, type[Factor]] = {kind.kind: kind for kind in (Factor, Ppca)}
# mclust's fourteen, in its order, by the names that they have here.
MCLUST = tuple(
    SYNONYMS.get(name, name)
    for name in "EII VII EEI VEI EVI VVI EEE VEE EVE VVE EEV VEV EVV VVV".split()
)


def names() -> tuple[str, ...]:
    """All that a caller may name."""
    return (*FAMILIES, *SYNONYMS, *_OF_ONE_FEATURE, *OF_RANK)


def conjugate_names() -> tuple[str, ...]:
    """The families that have a conjugate prior; see `Family.conjugate`."""
    return tuple(name for name, family in FAMILIES.items() if family.conjugate)


def family_of(
    name: Any, argument: str = "covariance_type", n_features: int | None = None
) -> Family:
    """The family that a caller names; a `Family` stands for itself.

    Raises:
        ValueError: an unknown name, or one that is for one feature where there are more.
    """
    if isinstance(name, Family):
        return name
    if (named := re.fullmatch(r"(\w+)\((\d{1,6})\)", str(name))) and named[1] in OF_RANK:
        return _of_rank(named[1], int(named[2]), argument, n_features)
    name = one_of(argument, name, names())
    if name in OF_RANK:
        raise ValueError(
            f"{argument}: expected {name} with a rank, as {name}(3) or by rank=3, got {name} alone"
        )
    if name in _OF_ONE_FEATURE:
        if n_features is not None and n_features != 1:
            raise ValueError(
                f"{argument}: expected a family for {n_features} features, got {name}, which is "
                f"for one; {_OF_ONE_FEATURE[name]} is like it"
            )
        name = _OF_ONE_FEATURE[name]
    return FAMILIES[SYNONYMS.get(name, name)]


@functools.cache
def _of_rank(kind: str, rank: int, argument: str, n_features: int | None) -> Family:
    if rank < 1 or (n_features is not None and rank > n_features):
        most = "" if n_features is None else f" and at most {n_features}, the number of features"
        raise ValueError(f"{argument}: expected a rank of at least 1{most}, got {kind}({rank})")
    return OF_RANK[kind](rank)


def with_rank(name: Any, rank: Any) -> Any:
    """The name of a family with the rank that a caller gives apart from it; None for none.

    Raises:
        ValueError: a rank for a family that has none, or has it in its name.

    Example:
        >>> with_rank("factor", 3)
        'factor(3)'
    """
    if rank is None:
        return name
    if name not in OF_RANK:
        if str(name).partition("(")[0] in OF_RANK:
            raise ValueError(
                f"rank: expected None with {name}, which has a rank already, got {rank!r}"
            )
        raise ValueError(
            f"rank: expected None but for {' and '.join(OF_RANK)}, got {rank!r} with {name}"
        )
    return f"{name}({as_count('rank', rank)})"


def families_of(
    asked: Any, n_features: int, argument: str = "covariance_types"
) -> dict[str, Family]:
    """Several families by name; "mclust" stands for all that mclust has.

    Raises:
        ValueError: an unknown name, one family twice, or none.
    """
    if isinstance(asked, str):
        one_of(argument, asked, ("mclust",))
        # Of one feature there are but two.
        asked = MCLUST if n_features > 1 else tuple(_OF_ONE_FEATURE)
    families = [family_of(name, argument, n_features) for name in asked]
    found = {family.name: family for family in families}
    if not found or len(found) < len(families):
        raise ValueError(f"{argument}: expected different families, got {list(asked)}")
    return found


def named(name: str, shape: tuple[int, ...], argument: str = "family") -> Family:
    """The family of covariances of a shape, by its name, without a rank that the shape tells."""
    rank = shape[-1] - 1 if name in OF_RANK and shape else None
    return family_of(with_rank(name, rank), argument)


def inferred(shape: tuple[int, ...], n_components: int, n_features: int) -> Family:
    """The family that covariances of this shape belong to.

    Where several coincide (one component, or one feature) it is the first in the table.
    """
    for family in FAMILIES.values():
        if family.shape(n_components, n_features) == shape:
            return family
    shapes = ", ".join(f"{n} {f.shape(n_components, n_features)}" for n, f in FAMILIES.items())
    raise ValueError(f"covariances: expected the shape of {shapes}; got {shape}")
