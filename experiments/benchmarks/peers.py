"""One interface to every library: EM from a given start for a given number of steps.

Each function takes samples [N, D] and a start (weights, means, covariances) in float64 and returns
``run(n)``, which takes n EM steps and returns (weights, means, covariances) as NumPy arrays.
A library that is not installed raises ImportError.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks import timing

NdArray = npt.NDArray[Any]
Start = tuple[NdArray, NdArray, NdArray]
Run = Callable[[int], Start]
Peer = Callable[[NdArray, Start, str], Run]


def numpy_reference(x: NdArray, start: Start, covariance_type: str) -> Run:
    """The textbook in float64 NumPy, whole arrays: what the answers are compared with."""
    data = x.astype(np.float64)

    def run(n: int) -> Start:
        weights, means, covariances = start
        for _ in range(n):
            responsibilities = np.exp(_log_joint(data, weights, means, covariances))
            responsibilities /= responsibilities.sum(axis=1, keepdims=True)
            counts = responsibilities.sum(axis=0)
            weights = counts / len(data)
            means = responsibilities.T @ data / counts[:, None]
            covariances = np.empty_like(covariances)
            for k, mean in enumerate(means):
                centred = data - mean
                weighted = responsibilities[:, k, None] * centred
                if covariance_type == "full":
                    covariances[k] = weighted.T @ centred / counts[k]
                else:
                    covariances[k] = (weighted * centred).sum(axis=0) / counts[k]
        return weights, means, covariances

    return run


def _log_joint(x: NdArray, weights: NdArray, means: NdArray, covariances: NdArray) -> NdArray:
    out = np.empty((len(x), len(weights)))
    for k, (weight, mean, covariance) in enumerate(zip(weights, means, covariances, strict=True)):
        if covariance.ndim == 1:
            covariance = np.diag(covariance)
        lower = np.linalg.cholesky(covariance)
        y = np.linalg.solve(lower, (x - mean).T)
        log_det = np.log(np.diag(lower)).sum()
        out[:, k] = np.log(weight) - log_det - 0.5 * (y**2).sum(axis=0)
    return out - 0.5 * x.shape[1] * np.log(2 * np.pi)


def mean_log_likelihood(x: NdArray, mixture: Start) -> float:
    """Mean nats per sample, in float64."""
    joint = _log_joint(x.astype(np.float64), *(np.asarray(a, np.float64) for a in mixture))
    top = joint.max(axis=1)
    return float(np.mean(top + np.log(np.exp(joint - top[:, None]).sum(axis=1))))


def jgmm(x: NdArray, start: Start, covariance_type: str) -> Run:
    """This library, on all devices that JAX was given."""
    import jax.numpy as jnp

    import jgmm as library

    data = x.astype(np.float32)
    weights, means, covariances = (jnp.asarray(a, jnp.float32) for a in start)
    init = library.Mixture(weights, means, covariances)

    def run(n: int) -> Start:
        result = library.fit(
            data,
            len(start[0]),
            init=init,
            covariance_type=covariance_type,
            accelerate=False,
            tol=0.0,
            # Without a floor a component collapses onto one colour, and the fit stops.
            reg_covar=1e-8,
            max_iter=n,
        )
        mixture = timing.all_steps(result, n).mixture
        return (
            np.asarray(mixture.weights),
            np.asarray(mixture.means),
            np.asarray(mixture.covariances),
        )

    return run


def scikit_learn(dtype: Any) -> Peer:
    """scikit-learn's GaussianMixture in ``dtype``."""

    def peer(x: NdArray, start: Start, covariance_type: str) -> Run:
        from sklearn.mixture import GaussianMixture

        data = x.astype(dtype)
        weights, means, covariances = (a.astype(dtype) for a in start)
        inverse = np.linalg.inv(covariances) if covariance_type == "full" else 1 / covariances

        def run(n: int) -> Start:
            model = GaussianMixture(
                len(weights),
                covariance_type=covariance_type,
                reg_covar=0.0,
                weights_init=weights / weights.sum(),
                means_init=means,
                precisions_init=inverse,
            )
            # Its own steps, without what `fit` does besides.
            model._initialize(data, None)
            for _ in range(n):
                _, log_resp = model._e_step(data)
                model._m_step(data, log_resp)
            return model.weights_, model.means_, model.covariances_

        return run

    return peer


def gmmx(x: NdArray, start: Start, covariance_type: str) -> Run:
    """gmmx, EM in JAX."""
    import jax
    import jax.numpy as jnp
    from gmmx import EMFitter, GaussianMixtureModelJax

    data = jnp.asarray(x, jnp.float32)
    weights, means, covariances = (jnp.asarray(a, jnp.float32) for a in start)
    model = GaussianMixtureModelJax.from_squeezed(
        means=means, covariances=covariances, weights=weights, covariance_type=covariance_type
    )

    def run(n: int) -> Start:
        fitted = jax.block_until_ready(
            EMFitter(max_iter=n, tol=0.0, reg_covar=0.0).fit(x=data, gmm=model)
        ).gmm
        return fitted.weights_numpy, fitted.means_numpy, np.asarray(fitted.covariances.values_numpy)

    return run


def tgmm(x: NdArray, start: Start, covariance_type: str) -> Run:
    """tgmm, EM in PyTorch on the CPU."""
    import torch
    from tgmm import GaussianMixture

    data = torch.from_numpy(x.astype(np.float32))
    weights, means, covariances = (torch.from_numpy(a.astype(np.float32)) for a in start)

    def run(n: int) -> Start:
        model = GaussianMixture(
            n_components=len(weights),
            n_features=x.shape[1],
            covariance_type=covariance_type,
            max_iter=n,
            tol=1e-30,
            reg_covar=0.0,
            init_means=means,
            init_weights=weights,
            init_covariances=covariances,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data)
        return model.weights_.numpy(), model.means_.numpy(), model.covariances_.numpy()

    return run


def ott(x: NdArray, start: Start, covariance_type: str) -> Run:
    """ott-jax, which knows full covariances only."""
    import jax
    import jax.numpy as jnp
    from ott.tools.gaussian_mixture import fit_gmm, gaussian_mixture

    if covariance_type != "full":
        raise ImportError("ott-jax has full covariances only")
    data = jnp.asarray(x, jnp.float32)
    weights, means, covariances = (jnp.asarray(a, jnp.float32) for a in start)
    model = gaussian_mixture.GaussianMixture.from_mean_cov_component_weights(
        mean=means, cov=covariances, component_weights=weights
    )

    def run(n: int) -> Start:
        fitted = jax.block_until_ready(fit_gmm.fit_model_em(model, data, None, steps=n))
        return (
            np.asarray(fitted.component_weights),
            np.asarray(fitted.loc),
            np.asarray(fitted.covariance),
        )

    return run


PEERS: dict[str, Peer] = {
    "jgmm": jgmm,
    "scikit-learn float32": scikit_learn(np.float32),
    "scikit-learn float64": scikit_learn(np.float64),
    "gmmx": gmmx,
    "tgmm": tgmm,
    "ott-jax": ott,
    "NumPy float64": numpy_reference,
}
