"""EM and k-means as a textbook writes them: float64 NumPy, loops, nothing clever.

The tests compare the library with this. A mixture here always has one full covariance matrix per
component; the family says only how the M-step constrains them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

NdArray = np.ndarray


class Gmm(NamedTuple):
    """A mixture of K Gaussians in D dimensions."""

    weights: NdArray  # [K]
    means: NdArray  # [K, D]
    covariances: NdArray  # [K, D, D]


def log_density(x: NdArray, mean: NdArray, covariance: NdArray) -> NdArray:
    """log N(x; mean, covariance) of each row of x [N, D]."""
    inverse = np.linalg.inv(covariance)
    constant = -0.5 * (len(mean) * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1])
    return np.array([constant - 0.5 * (row - mean) @ inverse @ (row - mean) for row in x])


def log_joint(gmm: Gmm, x: NdArray) -> NdArray:
    """log (weight · density) [N, K]; -inf for a component of weight 0."""
    joint = np.full((len(x), len(gmm.weights)), -np.inf)
    for k, (weight, mean, covariance) in enumerate(zip(*gmm, strict=True)):
        if weight > 0:
            joint[:, k] = math.log(weight) + log_density(x, mean, covariance)
    return joint


def log_prob(gmm: Gmm, x: NdArray) -> NdArray:
    """The log-density of the mixture [N]."""
    joint = log_joint(gmm, x)
    top = joint.max(axis=1)
    return top + np.log(np.exp(joint - top[:, None]).sum(axis=1))


def responsibilities(gmm: Gmm, x: NdArray) -> NdArray:
    """The posterior probability of each component [N, K]."""
    return np.exp(log_joint(gmm, x) - log_prob(gmm, x)[:, None])


def score(gmm: Gmm, x: NdArray, w: NdArray) -> float:
    """The mean log-likelihood per unit of weight."""
    return float(np.sum(w * log_prob(gmm, x)) / np.sum(w))


def e_step(gmm: Gmm, x: NdArray, w: NdArray) -> tuple[NdArray, NdArray, NdArray]:
    """Σr [K], Σr·y [K, D] and Σr·y·yᵀ [K, D, D], with y = L⁻¹(x - μ) and r the weight of x."""
    k, d = gmm.means.shape
    counts, shifts, scatters = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    shares = responsibilities(gmm, x)
    for j in range(k):
        whitener = np.linalg.inv(np.linalg.cholesky(gmm.covariances[j]))
        for row, weight, share in zip(x, w, shares[:, j], strict=True):
            y = whitener @ (row - gmm.means[j])
            counts[j] += weight * share
            shifts[j] += weight * share * y
            scatters[j] += weight * share * np.outer(y, y)
    return counts, shifts, scatters


def full(scatters: NdArray, counts: NdArray, floor: NdArray) -> NdArray:
    """The most likely covariances, one for each component, above the floor [D].

    From what they would be if they were free: scatters [K, D, D], means over counts [K].
    """
    return np.array([raise_to_floor(scatter, floor) for scatter in scatters])


def tied(scatters: NdArray, counts: NdArray, floor: NdArray) -> NdArray:
    """The same for one covariance that all components share."""
    pooled = sum(n * scatter for n, scatter in zip(counts, scatters, strict=True)) / counts.sum()
    return np.array([raise_to_floor(pooled, floor)] * len(counts))


def diag(scatters: NdArray, counts: NdArray, floor: NdArray) -> NdArray:
    """The same for a variance of each component and feature."""
    return np.array([np.diag(np.maximum(np.diag(scatter), floor)) for scatter in scatters])


def spherical(scatters: NdArray, counts: NdArray, floor: NdArray) -> NdArray:
    """The same for one variance of each component."""
    d = len(floor)
    least = np.mean(floor)
    return np.array([max(np.trace(scatter) / d, least) * np.eye(d) for scatter in scatters])


Estimate = Callable[[NdArray, NdArray, NdArray], NdArray]
ESTIMATES: dict[str, Estimate] = {
    "full": full,
    "tied": tied,
    "diag": diag,
    "spherical": spherical,
}


def m_step(x: NdArray, r: NdArray, family: str | Estimate, floor: NdArray) -> Gmm:
    """The mixture that responsibilities r [N, K], times the sample weights, make most likely.

    Among covariances of the family that are nowhere smaller than diag(floor [D]).
    """
    k, d = r.shape[1], x.shape[1]
    counts = r.sum(axis=0)
    means, scatters = np.zeros((k, d)), np.zeros((k, d, d))
    for j in range(k):
        means[j] = sum(r[n, j] * x[n] for n in range(len(x))) / counts[j]
        for n in range(len(x)):
            scatters[j] += r[n, j] * np.outer(x[n] - means[j], x[n] - means[j]) / counts[j]
    estimate = ESTIMATES[family] if isinstance(family, str) else family
    return Gmm(counts / counts.sum(), means, estimate(scatters, counts, floor))


def raise_to_floor(covariance: NdArray, floor: NdArray) -> NdArray:
    """The most likely Σ with Σ - diag(floor) positive semi-definite, given the scatter matrix.

    In units where the floor is the identity: eigenvalues below 1 become 1.
    """
    if np.all(floor == 0):
        return covariance
    unit = np.diag(np.sqrt(floor))
    inverse = np.diag(1 / np.sqrt(floor))
    values, vectors = np.linalg.eigh(inverse @ covariance @ inverse)
    return unit @ vectors @ np.diag(np.maximum(values, 1)) @ vectors.T @ unit


def em_step(
    gmm: Gmm, x: NdArray, w: NdArray, family: str | Estimate, floor: NdArray
) -> tuple[Gmm, float]:
    """One step of EM, and the mean log-likelihood of the mixture given."""
    r = responsibilities(gmm, x) * w[:, None]
    return m_step(x, r, family, floor), score(gmm, x, w)


def fit(
    gmm: Gmm, x: NdArray, w: NdArray, family: str | Estimate, floor: NdArray, n_steps: int
) -> tuple[Gmm, list[float]]:
    """So many steps of EM, and the log-likelihood of the start and after each."""
    history = []
    for _ in range(n_steps):
        gmm, before = em_step(gmm, x, w, family, floor)
        history.append(before)
    return gmm, [*history, score(gmm, x, w)]


def mean_and_variance(x: NdArray, w: NdArray) -> tuple[NdArray, NdArray]:
    """The weighted mean and variance of each feature [D]."""
    mean = sum(weight * row for weight, row in zip(w, x, strict=True)) / w.sum()
    square = sum(weight * (row - mean) ** 2 for weight, row in zip(w, x, strict=True))
    return mean, square / w.sum()


def squared_distances(centroids: NdArray, x: NdArray) -> NdArray:
    """[N, K]."""
    return np.array([[np.sum((row - c) ** 2) for c in centroids] for row in x])


def nearest(centroids: NdArray, x: NdArray) -> NdArray:
    """The index of the nearest centroid [N]."""
    return squared_distances(centroids, x).argmin(axis=1)


def inertia(centroids: NdArray, x: NdArray, w: NdArray) -> float:
    """The weighted sum of squared distances to the nearest centroid."""
    return float(np.sum(w * squared_distances(centroids, x).min(axis=1)))


def lloyd_step(centroids: NdArray, x: NdArray, w: NdArray) -> tuple[NdArray, float]:
    """Each centroid moved to the weighted mean of its samples, and the inertia before."""
    labels = nearest(centroids, x)
    moved = centroids.copy()
    for k in range(len(centroids)):
        mine = labels == k
        if w[mine].sum() > 0:
            moved[k] = (w[mine, None] * x[mine]).sum(axis=0) / w[mine].sum()
    return moved, inertia(centroids, x, w)


def plus_plus_probabilities(centroids: list[NdArray], x: NdArray, w: NdArray) -> NdArray:
    """The probability [N] that k-means++ draws each sample as a candidate for the next centroid."""
    mass = w * squared_distances(np.array(centroids), x).min(axis=1) if len(centroids) else w
    return mass / mass.sum()


def greedy_probabilities(centroids: list[NdArray], x: NdArray, w: NdArray, trials: int) -> NdArray:
    """The probability [N] that greedy k-means++ takes each sample as the next centroid.

    It draws ``trials`` candidates and takes the one that leaves the least inertia, so sample i is
    taken when no candidate is better and at least one is i. No two samples may be equally good.
    """
    drawn = plus_plus_probabilities(centroids, x, w)
    left = np.array([inertia(np.array([*centroids, row]), x, w) for row in x])
    taken = np.zeros(len(x))
    for i in range(len(x)):
        not_better, worse = drawn[left >= left[i]].sum(), drawn[left > left[i]].sum()
        taken[i] = not_better**trials - worse**trials
    return taken


def log_prior(gmm: Gmm, prior: Any, family: str) -> float:
    """The logarithm of a prior's density at a mixture, up to a constant."""
    d = gmm.means.shape[1]
    k = int(np.sum(gmm.weights > 0))
    result = (prior.concentration - 1) * np.sum(np.log(gmm.weights))
    exponents = {
        "full": prior.dof + d + 2,
        "tied": prior.dof + d + 1 + k,
        "diag": prior.dof + 3,
        "spherical": (prior.dof + 2 + d) / d,
    }
    for j, (_, mean, covariance) in enumerate(zip(*gmm, strict=True)):
        gap, inverse = mean - prior.mean, np.linalg.inv(covariance)
        result -= prior.mean_strength / 2 * gap @ inverse @ gap
        if family == "tied" and j > 0:
            continue
        result -= exponents[family] / 2 * np.linalg.slogdet(covariance)[1]
        trace = np.trace(prior.scale @ inverse)
        if family == "diag":
            trace = np.sum(np.diag(prior.scale) / np.diag(covariance))
        if family == "spherical":
            trace = np.trace(prior.scale) / d / covariance[0, 0]
        result -= trace / 2
    return float(result)


def map_m_step(x: NdArray, r: NdArray, family: str, prior: Any) -> Gmm:
    """The mixture of the highest posterior density, given responsibilities times weights."""
    k, d = r.shape[1], x.shape[1]
    counts = r.sum(axis=0)
    strength = prior.mean_strength
    means, spreads = np.zeros((k, d)), np.zeros((k, d, d))
    for j in range(k):
        average = (r[:, j, None] * x).sum(axis=0) / counts[j]
        means[j] = (counts[j] * average + strength * prior.mean) / (counts[j] + strength)
        gap = average - prior.mean
        spreads[j] = strength * counts[j] / (strength + counts[j]) * np.outer(gap, gap)
        for row, share in zip(x, r[:, j], strict=True):
            spreads[j] += share * np.outer(row - average, row - average)
    covariances = np.zeros((k, d, d))
    for j in range(k):
        if family == "full":
            covariances[j] = (spreads[j] + prior.scale) / (counts[j] + prior.dof + d + 2)
        elif family == "tied":
            total = spreads.sum(axis=0) + prior.scale
            covariances[j] = total / (counts.sum() + prior.dof + d + 1 + k)
        elif family == "diag":
            total = np.diag(spreads[j]) + np.diag(prior.scale)
            covariances[j] = np.diag(total / (counts[j] + prior.dof + 3))
        else:
            total = np.trace(spreads[j]) + np.trace(prior.scale) / d
            covariances[j] = np.eye(d) * total / (prior.dof + d * (counts[j] + 1) + 2)
    mass = counts + prior.concentration - 1
    return Gmm(mass / mass.sum(), means, covariances)


def em_step_with_gaps(gmm: Gmm, x: NdArray, w: NdArray, family: str) -> tuple[Gmm, float]:
    """One step of EM where NaN features are missing, and the mean likelihood of the others."""
    k, d = gmm.means.shape
    counts, sums, squares = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    likelihood = 0.0
    for row, weight in zip(x, w, strict=True):
        seen = ~np.isnan(row)
        joint, rows, products = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
        for j, (share, mean, covariance) in enumerate(zip(*gmm, strict=True)):
            inner = covariance[np.ix_(seen, seen)]
            gain = covariance[:, seen] @ np.linalg.inv(inner)
            joint[j] = math.log(share) + log_density(row[None, seen], mean[seen], inner)[0]
            rows[j] = mean + gain @ (row - mean)[seen]
            left = covariance - gain @ covariance[seen, :]
            products[j] = np.outer(rows[j], rows[j]) + left
        density = np.logaddexp.reduce(joint)
        likelihood += weight * density
        for j, r in enumerate(weight * np.exp(joint - density)):
            counts[j] += r
            sums[j] += r * rows[j]
            squares[j] += r * products[j]
    means = sums / counts[:, None]
    covariances = np.array(
        [s / c - np.outer(m, m) for s, c, m in zip(squares, counts, means, strict=True)]
    )
    if family == "tied":
        pooled = np.tensordot(counts / counts.sum(), covariances, 1)
        covariances = np.array([pooled] * k)
    elif family == "diag":
        covariances = np.array([np.diag(np.diag(c)) for c in covariances])
    elif family == "spherical":
        covariances = np.array([np.trace(c) / d * np.eye(d) for c in covariances])
    return Gmm(counts / counts.sum(), means, covariances), likelihood / w.sum()
