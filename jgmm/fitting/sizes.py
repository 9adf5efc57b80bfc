"""How many of the samples a search, or a run that comes first, goes over."""

from __future__ import annotations

from jgmm.families.family import Family
from jgmm.fitting.population import Plan, plan_for

_ALL = 1 << 14  # samples at most that a search goes over as they are


def subsample_size(n: int, k: int, d: int, family: Family) -> int | None:
    """How many of ``n`` samples a short run takes; None where it is not worth its while.

    An eighth, but so many that the parameters are well determined, and no more than it takes to
    come within a few steps of the optimum of all.
    """
    determined = _determined(k, d, family)
    bits = min((n // 8).bit_length() - 1, max(17, determined))
    return 1 << bits if bits >= max(13, determined) else None


def search_of(n: int, k: int, d: int, family: Family) -> tuple[int | None, Plan | None]:
    """How many of ``n`` samples a search goes over, None for all; and its plan, None for none.

    Of many samples it takes part of them, for which it has to be worth its while.
    """
    if n <= _ALL:
        return None, plan_for(k, d, thorough=True)
    plan = plan_for(k, d, thorough=False)
    bits = max(min((n // 8).bit_length() - 1, 17), 13, _determined(k, d, family))
    return (1 << bits, plan) if 2 << bits <= n and plan is not None else (None, None)


def _determined(k: int, d: int, family: Family) -> int:
    """The logarithm of the number of samples that determine the parameters well."""
    parameters = k * (d + 1) + family.n_parameters(k, d)
    return (20 * parameters - 1).bit_length()
