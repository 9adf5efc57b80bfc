"""A step of variational Bayes and all terms of its bound, in plain NumPy and SciPy (float64).

After Bishop (2006), section 10.2, term by term; Blei and Jordan (2006) for sticks. Written to be
read: nothing here is simplified, and nothing is shared with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from scipy.special import digamma, gammaln

LOG_2PI = np.log(2 * np.pi)


@dataclass
class Prior:
    """Concentration, mean, β, ν and the scale S [D, D] of the prior."""

    concentration: float
    mean: np.ndarray
    beta: float
    nu: float
    scale: np.ndarray


@dataclass
class Posterior:
    """Concentrations [K] or [2, K], means [K, D], β [K], ν [K] and S, a matrix each [K, D, D].

    Tied components have the same ν and S. Of diag and spherical ones S is diagonal.
    """

    concentrations: np.ndarray
    means: np.ndarray
    betas: np.ndarray
    nus: np.ndarray
    scales: np.ndarray


def precision_terms(family: str, nu: float, scale: np.ndarray) -> tuple[float, np.ndarray, float]:
    """E log|Λ|, E Λ and the entropy of Λ."""
    d = len(scale)
    if family in ("full", "tied"):
        inverse = np.linalg.inv(scale)
        log_det = sum(digamma((nu - i) / 2) for i in range(d)) + d * np.log(2)
        log_det += np.linalg.slogdet(inverse)[1]
        entropy = scipy.stats.wishart(df=nu, scale=inverse).entropy()
        return log_det, nu * inverse, entropy
    shapes, rates = gammas(family, nu, scale)
    each = d // len(shapes)
    log_det = each * np.sum(digamma(shapes) - np.log(rates))
    mean = np.diag(np.repeat(shapes / rates, each))
    return log_det, mean, np.sum(scipy.stats.gamma(a=shapes, scale=1 / rates).entropy())


def gammas(family: str, nu: float, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d, diagonal = len(scale), np.diag(scale)
    if family == "diag":
        return np.full(d, nu / 2), diagonal / 2
    return np.array([d * nu / 2]), np.array([diagonal.sum() / 2])


def expected_log_prior(family: str, prior: Prior, log_det: float, mean: np.ndarray) -> float:
    """E log p(Λ)."""
    d, nu, scale = len(prior.mean), prior.nu, prior.scale
    if family in ("full", "tied"):
        norm = nu / 2 * np.linalg.slogdet(scale)[1] - nu * d / 2 * np.log(2)
        norm -= scipy.special.multigammaln(nu / 2, d)
        return norm + (nu - d - 1) / 2 * log_det - np.trace(scale @ mean) / 2
    shapes, rates = gammas(family, nu, scale)
    each = d // len(shapes)
    means = np.diag(mean)[::each]
    total = np.sum(shapes * np.log(rates) - gammaln(shapes) - rates * means)
    return total + (shapes[0] - 1) * log_det / each  # all shapes are equal


def log_weights(kind: str, concentrations: np.ndarray) -> np.ndarray:
    """E log π."""
    if kind == "dirichlet_distribution":
        return digamma(concentrations) - digamma(concentrations.sum())
    a, b = concentrations
    found = []
    left = 0.0
    for k in range(len(a)):
        found.append(left + digamma(a[k]) - digamma(a[k] + b[k]))
        left += digamma(b[k]) - digamma(a[k] + b[k])
    return np.array(found)


def weight_divergence(kind: str, concentrations: np.ndarray, prior: float) -> float:
    """Of q(π) from p(π), by the entropies of SciPy."""
    if kind == "dirichlet_distribution":
        alpha0 = np.full(len(concentrations), prior)
        logs = log_weights(kind, concentrations)
        cross = gammaln(alpha0.sum()) - gammaln(alpha0).sum() + np.sum((alpha0 - 1) * logs)
        return -scipy.stats.dirichlet(concentrations).entropy() - cross
    total = 0.0
    for a, b in concentrations.T:
        log_left = digamma(b) - digamma(a + b)
        total -= scipy.stats.beta(a, b).entropy() + np.log(prior) + (prior - 1) * log_left
    return total


def responsibilities(x: np.ndarray, posterior: Posterior, family: str, kind: str) -> np.ndarray:
    """Log ρ [N, K] (10.46), not normalised."""
    d = x.shape[1]
    logs = np.empty((len(x), len(posterior.means)))
    weights = log_weights(kind, posterior.concentrations)
    for k, mean in enumerate(posterior.means):
        log_det, precision, _ = precision_terms(family, posterior.nus[k], posterior.scales[k])
        gaps = x - mean
        squares = d / posterior.betas[k] + np.einsum("ni,ij,nj->n", gaps, precision, gaps)
        logs[:, k] = weights[k] + log_det / 2 - d / 2 * LOG_2PI - squares / 2
    return logs


def step(
    x: np.ndarray, w: np.ndarray, posterior: Posterior, prior: Prior, family: str, kind: str
) -> tuple[Posterior, float]:
    """The next posterior, components of most samples first; and the bound of the one given."""
    logs = responsibilities(x, posterior, family, kind)
    log_r = logs - scipy.special.logsumexp(logs, axis=1)[:, None]
    r = np.exp(log_r)
    bound = np.sum(w[:, None] * r * (logs - log_r))  # E log p(X, Z | ...) + entropy of Z
    d = x.shape[1]
    seen = []
    for k, mean in enumerate(posterior.means):
        log_det, precision, entropy = precision_terms(family, posterior.nus[k], posterior.scales[k])
        gap, beta = mean - prior.mean, posterior.betas[k]
        bound += d / 2 * np.log(prior.beta / (2 * np.pi)) + log_det / 2
        bound -= (d * prior.beta / beta + prior.beta * gap @ precision @ gap) / 2
        bound += d / 2 * (1 + LOG_2PI) - d / 2 * np.log(beta) - log_det / 2
        if family != "tied" or k == 0:
            bound += expected_log_prior(family, prior, log_det, precision) + entropy
        seen.append(moments(x, w * r[:, k]))
    bound -= weight_divergence(kind, posterior.concentrations, prior.concentration)
    return maximised(seen, prior, family, kind), bound


def moments(x: np.ndarray, r: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    n = r.sum()
    mean = r @ x / n
    return n, mean, (r[:, None] * (x - mean)).T @ (x - mean)


def maximised(seen: list[Any], prior: Prior, family: str, kind: str) -> Posterior:
    """From counts, means and scatters (10.58 to 10.63), largest first."""
    seen = sorted(seen, key=lambda part: -part[0])
    counts = np.array([n for n, _, _ in seen])
    means, scales = [], []
    for n, mean, scatter in seen:
        gap = mean - prior.mean
        means.append((prior.beta * prior.mean + n * mean) / (prior.beta + n))
        scales.append(scatter + prior.beta * n / (prior.beta + n) * np.outer(gap, gap))
    nus = prior.nu + counts
    if family == "tied":
        nus = np.full(len(counts), prior.nu + counts.sum())
        scales = [sum(scales)] * len(counts)
    scales = [prior.scale + scale for scale in scales]
    d = len(prior.mean)
    if family == "diag":
        scales = [np.diag(np.diag(scale)) for scale in scales]
    if family == "spherical":
        scales = [np.eye(d) * np.trace(scale) / d for scale in scales]
    if kind == "dirichlet_distribution":
        concentrations = prior.concentration + counts
    else:
        behind = np.array([counts[k + 1 :].sum() for k in range(len(counts))])
        concentrations = np.stack([1 + counts, prior.concentration + behind])
    return Posterior(concentrations, np.array(means), prior.beta + counts, nus, np.array(scales))
