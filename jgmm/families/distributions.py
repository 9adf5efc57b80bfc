"""The distributions of components by name, and how callers choose degrees of freedom."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array

from jgmm._checks import as_array, as_nonnegative, is_concrete, one_of
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.student import FIXED, FREE, SHARED, StudentT

STUDENT_T = StudentT()
DISTRIBUTIONS: dict[str, Distribution] = {
    distribution.name: distribution for distribution in (GAUSSIAN, STUDENT_T)
}
NAMES = tuple(DISTRIBUTIONS)
ESTIMATED = (FREE, SHARED)
_START = 10.0  # degrees of freedom where a fit begins that estimates them


def distribution_of(name: Any) -> Distribution:
    """The distribution that a caller names; a `Distribution` stands for itself."""
    if isinstance(name, Distribution):
        return name
    return DISTRIBUTIONS[one_of("distribution", name, NAMES)]


def chosen(
    distribution: Any, degrees_of_freedom: Any, dtype: Any
) -> tuple[Distribution, Array | None]:
    """The distribution that a caller chose for a fit, and the degrees of freedom it begins with [].

    Raises:
        TypeError: degrees of freedom of the wrong type.
        ValueError: an unknown name; degrees of freedom of a distribution without, not above 0, or
            more than one number.
    """
    found = distribution_of(distribution)
    named = isinstance(degrees_of_freedom, str)
    if named:
        one_of("degrees_of_freedom", degrees_of_freedom, ESTIMATED)
    if not found.shaped:
        if not named or degrees_of_freedom != FREE:
            raise ValueError(
                f"degrees_of_freedom: expected distribution='{STUDENT_T.name}' with them, got "
                f"distribution='{found.name}'"
            )
        return found, None
    if named:
        return StudentT(degrees_of_freedom), as_array(_START, dtype)
    with np.errstate(over="ignore"):  # which is refused below
        value = as_nonnegative("degrees_of_freedom", degrees_of_freedom, dtype, zero=False)
    if value.shape != ():
        raise ValueError(
            f"degrees_of_freedom: expected one number, 'free' or 'shared', got shape {value.shape}"
        )
    if is_concrete(value) and not 0 < float(value) < np.inf:
        raise ValueError(
            f"degrees_of_freedom: expected a number above 0 that {value.dtype} can hold, got "
            f"{degrees_of_freedom}"
        )
    return StudentT(FIXED), as_array(value, dtype)


def text_of(distribution: Distribution) -> str:
    """The distribution in a word or two, for files."""
    if isinstance(distribution, StudentT):
        return f"{distribution.name} {distribution.degrees}"
    return distribution.name


def of_text(text: str) -> Distribution:
    """The way back from `text_of`.

    Raises:
        ValueError: a text of no distribution.
    """
    known = [GAUSSIAN, *(StudentT(degrees) for degrees in (*ESTIMATED, FIXED))]
    for distribution in known:
        if text_of(distribution) == text:
            return distribution
    raise ValueError(f"expected a distribution, got {text[:40]!r}")
