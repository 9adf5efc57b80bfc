"""How many components? By an information criterion, or by the knee of the likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.fitting.sweeps import SweepResult

RULES = ("knee", "icl", "bic")


def knee(ks: Sequence[int], log_likelihoods: ArrayLike) -> int:
    """The k from which on more components gain little.

    Of the curve of log-likelihood against k, with both scaled to [0, 1], the point that is
    farthest above the straight line from its first to its last point (Satopaa, Albrecht, Irwin
    and Raghavan 2011). With k on a logarithmic scale, because each doubling gains about as much
    where the data have no k of their own.

    Args:
        ks: S different numbers of components.
        log_likelihoods: [S], nats per sample.

    Returns:
        One of the ks; of two the larger, if it gains anything.

    Raises:
        ValueError: no ks, or another number of log-likelihoods.

    Example:
        >>> knee([2, 3, 4, 5, 6], [-9.0, -6.0, -5.8, -5.7, -5.6])
        3
    """
    k, value = np.asarray(ks), np.asarray(log_likelihoods, np.float64)
    if k.ndim != 1 or k.shape != value.shape or len(k) == 0:
        raise ValueError(f"expected [S] ks and log-likelihoods, got {k.shape} and {value.shape}")
    order = np.argsort(k)
    k, value = k[order], value[order]
    finite = np.isfinite(value)
    if not finite.any():
        raise ValueError("log_likelihoods: expected a finite one, got none")
    k, value = k[finite], np.maximum.accumulate(value[finite])
    rise = value[-1] - value[0]
    if rise <= 0:
        return int(k[0])
    if len(k) == 2:
        return int(k[1])
    x = np.log(k / k[0]) / np.log(k[-1] / k[0])
    return int(k[np.argmax((value - value[0]) / rise - x)])


def explain(result: SweepResult, by: str = "knee") -> str:
    """Why `choose` takes the number that it takes, in words.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 1))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> explain(jgmm.sweep(pixels, [1, 2, 3]), "bic")
        'the least BIC of k = 1, 2, 3'
    """
    chosen = choose(result, by)
    ks = sorted(np.asarray(result.n_components).tolist())
    if len(ks) == 1:
        return "the only k"
    offered = f"of k = {', '.join(map(str, ks))}"
    if by != "knee":
        more = "; it still falls there, so that more may fit better" if chosen == ks[-1] else ""
        return f"the least {by.upper()} {offered}{more}"
    values = _best_likelihoods(result)
    low, here, high = (values[k] for k in (ks[0], chosen, ks[-1]))
    return (
        f"the knee of the log-likelihood {offered}: up to there it gains {here - low:.3f} nats per "
        f"sample, beyond only {high - here:.3f}"
    )


def choose(result: SweepResult, by: str = "knee") -> int:
    """The number of components to take from a sweep.

    Args:
        result: of several numbers of components.
        by: "knee", "icl" or "bic".

    Returns:
        One of the numbers of the sweep.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(1), (1000, 1))
        >>> pixels = pixels.at[500:].add(20.0)
        >>> choose(jgmm.sweep(pixels, [1, 2, 3]), "bic")
        2
    """
    _checks.one_of("by", by, RULES)
    if by != "knee":
        return result.best(by).mixture.n_components
    values = _best_likelihoods(result)
    return knee(list(values), np.array(list(values.values())))


def _best_likelihoods(result: SweepResult) -> dict[int, float]:
    """Of each k the log-likelihood of the restart of highest objective; NaN if none is finite."""
    objectives = np.asarray(result.fits.objective)
    finite = np.isfinite(objectives)
    best = np.argmax(np.where(finite, objectives, -np.inf), axis=1)
    rows = np.arange(len(best))
    values = np.where(
        finite[rows, best], np.asarray(result.fits.log_likelihood)[rows, best], np.nan
    )
    return dict(zip(np.asarray(result.n_components).tolist(), values.tolist(), strict=True))
