"""The M-steps of mclust's families as a textbook writes them: float64 NumPy, loops, nothing clever.

Each takes the scatter matrices of the components [K, D, D], means over their counts [K], and
returns the likeliest covariances [K, D, D] of the family: those that minimise
Σ n_k (log|Σ_k| + tr(Σ_k⁻¹ S_k)). Celeux and Govaert (1995), and for common axes the
majorisation of Browne and McNicholas (2014).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NdArray = np.ndarray
_TURNS = 3000


def cost(covariances: NdArray, scatters: NdArray, counts: NdArray) -> float:
    """What the M-step minimises."""
    total = 0.0
    for sigma, scatter, n in zip(covariances, scatters, counts, strict=True):
        total += n * (np.linalg.slogdet(sigma)[1] + np.trace(np.linalg.solve(sigma, scatter)))
    return total


def eei(scatters: NdArray, counts: NdArray) -> NdArray:
    """One diagonal matrix."""
    mean = np.tensordot(counts, scatters, 1) / counts.sum()
    return np.array([np.diag(np.diag(mean))] * len(counts))


def eii(scatters: NdArray, counts: NdArray) -> NdArray:
    """One variance."""
    d = scatters.shape[1]
    mean = np.tensordot(counts, scatters, 1) / counts.sum()
    return np.array([np.trace(mean) / d * np.eye(d)] * len(counts))


def vee(scatters: NdArray, counts: NdArray) -> NdArray:
    """λ_k C, one after the other."""
    d = scatters.shape[1]
    sizes = np.ones(len(counts))
    for _ in range(_TURNS):
        c = sum(n * s / size for n, s, size in zip(counts, scatters, sizes, strict=True))
        c = c / np.linalg.det(c) ** (1 / d)
        sizes = np.array([np.trace(np.linalg.solve(c, s)) / d for s in scatters])
    return sizes[:, None, None] * c


def vei(scatters: NdArray, counts: NdArray) -> NdArray:
    """λ_k A, of what is on the diagonals."""
    return vee(diagonals(scatters), counts)


def evv(scatters: NdArray, counts: NdArray) -> NdArray:
    """Each as it is, but for its volume, which is the mean of all."""
    sizes = np.linalg.det(scatters) ** (1 / scatters.shape[1])
    volume = counts @ sizes / counts.sum()
    return volume * scatters / sizes[:, None, None]


def evi(scatters: NdArray, counts: NdArray) -> NdArray:
    """The same of what is on the diagonals."""
    return evv(diagonals(scatters), counts)


def eev(scatters: NdArray, counts: NdArray) -> NdArray:
    """One spectrum, each along its own axes."""
    return along_own_axes(scatters, counts, eei)


def vev(scatters: NdArray, counts: NdArray) -> NdArray:
    """One spectrum but for its size, each along its own axes."""
    return along_own_axes(scatters, counts, vei)


def vve(scatters: NdArray, counts: NdArray) -> NdArray:
    """Any spectra along common axes."""
    return along_common_axes(scatters, counts, lambda inner, counts: diagonals(inner))


def eve(scatters: NdArray, counts: NdArray) -> NdArray:
    """Spectra of one volume along common axes."""
    return along_common_axes(scatters, counts, evi)


def diagonals(scatters: NdArray) -> NdArray:
    """Without what is off the diagonals."""
    return scatters * np.eye(scatters.shape[1])


Rule = Callable[[NdArray, NdArray], NdArray]


def along_own_axes(scatters: NdArray, counts: NdArray, rule: Rule) -> NdArray:
    """A rule for diagonal matrices, in the axes of each scatter matrix."""
    values, axes = np.linalg.eigh(scatters)
    inner = rule(np.array([np.diag(row) for row in values]), counts)
    return axes @ inner @ axes.swapaxes(1, 2)


def along_common_axes(scatters: NdArray, counts: NdArray, rule: Rule) -> NdArray:
    """A rule for diagonal matrices, in the axes in which it fits best.

    tr(P_k Dᵀ S_k D) is no more than a linear function of D, plus what does not depend on it, that
    touches it where D is now; the D that minimises the sum of those comes from a singular value
    decomposition.
    """
    _, axes = np.linalg.eigh(np.tensordot(counts, scatters, 1))
    for _ in range(_TURNS):
        inner = rule(axes.T @ scatters @ axes, counts)
        slope = np.zeros_like(axes)
        for n, scatter, spectrum in zip(counts, scatters, inner, strict=True):
            largest = np.linalg.eigvalsh(scatter)[-1]
            slope += n * np.linalg.inv(spectrum) @ axes.T @ (scatter - largest * np.eye(len(axes)))
        left, _, right = np.linalg.svd(-slope)
        axes = (left @ right).T
    inner = rule(axes.T @ scatters @ axes, counts)
    return axes @ inner @ axes.T


ESTIMATES: dict[str, Rule] = {
    "VEI": vei,
    "EVI": evi,
    "VEE": vee,
    "EVE": eve,
    "VVE": vve,
    "EEV": eev,
    "VEV": vev,
    "EVV": evv,
}
