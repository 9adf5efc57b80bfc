"""Where an estimator starts: scikit-learn's starts, draw for draw, with sample weights.

This is NumPy in float64: one pass over the data, which is not worth compiling a program for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import kmeans_plusplus

from jgmm.families.table import family_of
from jgmm.sklearn._distinct import Distinct
from jgmm.sklearn._kmeans import KMeans

Float = npt.NDArray[Any]


def drawn(
    x: Float,
    weights: Float,
    samples: Distinct,
    k: int,
    covariance_type: str,
    reg_covar: float,
    init_params: str,
    random_state: np.random.RandomState,
) -> tuple[Float, Float, Float]:
    """The `moments` of drawn responsibilities."""
    found = draw(x, weights, samples, k, init_params, random_state)
    if init_params == "kmeans":  # equal samples are of one cluster
        x, weights, found = samples.rows, samples.weights, found[samples.first]
    return moments(x, weights, found, k, covariance_type, reg_covar)


def draw(
    x: Float,
    weights: Float,
    samples: Distinct,
    k: int,
    init_params: str,
    random_state: np.random.RandomState,
) -> Float:
    """Responsibilities [N, K], or labels [N] with -1 for samples of no component."""
    n = len(x)
    if init_params == "kmeans":
        clusters = KMeans(n_clusters=k, n_init=1, random_state=random_state)
        labels: Float = clusters._find(x, weights, samples).labels_
        return labels
    if init_params == "random":
        shares = random_state.uniform(size=(n, k))
        return shares / shares.sum(axis=1)[:, None]
    if init_params == "random_from_data":
        mass = None if np.all(weights == weights[0]) else weights / weights.sum()
        seeds = random_state.choice(n, size=k, replace=False, p=mass)
    else:
        _, seeds = kmeans_plusplus(x, k, sample_weight=weights, random_state=random_state)
    labels = np.full(n, -1)
    labels[seeds] = np.arange(k)
    return labels


def moments(
    x: Float, weights: Float, shares: Float, k: int, covariance_type: str, reg_covar: float
) -> tuple[Float, Float, Float]:
    """Weights [K], means [K, D] and covariances (as jgmm has them) of responsibilities or labels.

    The weights are counts over the number of samples: they sum to less than one where some
    samples belong to no component, as they do in scikit-learn.
    """
    n, d = x.shape
    w = np.asarray(weights, np.float64)
    center = np.average(x, axis=0, weights=w)
    family = family_of(covariance_type)
    if family.shared and shares.ndim == 1 and np.any(shares < 0):
        center = np.zeros(d)  # scikit-learn's second moment is of all samples, about the origin
    moved = np.asarray(x, np.float64) - center
    if shares.ndim == 2:
        rows = np.asarray(shares, np.float64) * w[:, None]

        def add(values: Float) -> Float:
            return rows.T @ values
    else:
        mine = shares >= 0
        index = shares[mine]

        def add(values: Float) -> Float:
            mass = (w * values)[mine]
            return np.bincount(index, mass, minlength=k)

    counts = add(np.ones(n)) + 10 * np.finfo(np.float64).eps
    means = np.stack([add(column) for column in moved.T], axis=1) / counts[:, None]
    if family.shared:
        scatter = (moved * w[:, None]).T @ moved - (means * counts[:, None]).T @ means
        covariances = (scatter / counts.sum() + reg_covar * np.eye(d))[None]
    elif not family.independent:
        covariances = np.empty((k, d, d))
        for i in range(d):
            for j in range(i + 1):
                product = add(moved[:, i] * moved[:, j]) / counts - means[:, i] * means[:, j]
                covariances[:, i, j] = covariances[:, j, i] = product
        covariances += reg_covar * np.eye(d)
    else:
        squares = np.stack([add(column**2) for column in moved.T], axis=1)
        covariances = squares / counts[:, None] - means**2 + reg_covar
    return counts / w.sum(), means + center, family.of_matrices(covariances)
