"""Information criteria: how many components do the data call for? The least is the best."""

from __future__ import annotations

from typing import Any

from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.arrays import module_of
from jgmm.data.devices import mesh_of, summed_over_rows
from jgmm.data.programs import program
from jgmm.data.samples import Rows, Samples
from jgmm.mixture.density import alike
from jgmm.mixture.mixture import FitLike, Mixture, conform
from jgmm.mixture.posterior import centered, judgement


def n_parameters(mixture: Mixture) -> Array:
    """Free parameters of the components in use."""
    d = mixture.n_features
    family, distribution = mixture.family, mixture.distribution
    counts = [
        family.n_parameters(k, d) + distribution.n_parameters(k) + k * d + k - 1
        for k in range(mixture.n_components + 1)
    ]
    xp = module_of(mixture.means)
    return xp.asarray(counts, mixture.means.dtype)[xp.sum(mixture.weights > 0, axis=-1)]


def criteria_of(
    log_likelihood: Array, parameters: Array, weight: Array, entropy: Array
) -> dict[str, Array]:
    """All criteria, by their names, from sums over samples of a total weight."""
    bic = -2 * log_likelihood + parameters * module_of(weight).log(weight)
    return {
        "bic": bic,
        "aic": -2 * log_likelihood + 2 * parameters,
        "icl": bic + 2 * entropy,
    }


@program("incomplete", "mesh")
def _criteria(
    mixture: Mixture,
    pixels: Array,
    weights: Array,
    incomplete: bool,
    mesh: Mesh | None,
) -> dict[str, Array]:
    moved, flat = centered(mixture, pixels.reshape(-1, pixels.shape[-1]))
    size = mixture.block_size

    def on_device(samples: Samples, mixture: Mixture) -> tuple[Array, Array, Array]:
        return judgement(mixture, samples)

    rows = Rows(features=flat, weights=weights)
    log_likelihood, weight, entropy = summed_over_rows(
        on_device, rows, size, mesh, moved, incomplete=incomplete
    )
    return criteria_of(log_likelihood, n_parameters(mixture), weight, entropy)


def bic(
    mixture: Mixture | FitLike,
    pixels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    missing: str = "error",
) -> Array:
    """The Bayesian information criterion (Schwarz 1978); the least is the best.

    Args:
        mixture: K components in D dimensions, fitted to the pixels, or the result of the fit.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.
        missing: "nan" takes NaN features as missing, as `jgmm.fit` does.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(0), (500, 1))
        >>> one, two = (jgmm.fit(pixels, k).mixture for k in (1, 2))
        >>> print(jgmm.bic(one, pixels) < jgmm.bic(two, pixels))
        True
    """
    return all_criteria(mixture, pixels, weights, missing)["bic"]


def aic(
    mixture: Mixture | FitLike,
    pixels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    missing: str = "error",
) -> Array:
    """Akaike's information criterion (Akaike 1974); the least is the best.

    Args:
        mixture: K components in D dimensions, fitted to the pixels, or the result of the fit.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.
        missing: "nan" takes NaN features as missing, as `jgmm.fit` does.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> print(round(float(jgmm.aic(normal, jnp.zeros((1, 1)))), 3))
        5.838
    """
    return all_criteria(mixture, pixels, weights, missing)["aic"]


def icl(
    mixture: Mixture | FitLike,
    pixels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    missing: str = "error",
) -> Array:
    """The integrated completed likelihood (Biernacki, Celeux and Govaert 2000); least is best.

    BIC plus twice the entropy of the responsibilities, which favours components that do not
    overlap.

    Args:
        mixture: K components in D dimensions, fitted to the pixels, or the result of the fit.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.
        missing: "nan" takes NaN features as missing, as `jgmm.fit` does.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> same = jgmm.Mixture(jnp.ones(2) / 2, jnp.zeros((2, 1)), jnp.ones((2, 1)))
        >>> pixels = jnp.zeros((1, 1))
        >>> print(round(float(jgmm.icl(same, pixels) - jgmm.bic(same, pixels)), 3))
        1.386
    """
    return all_criteria(mixture, pixels, weights, missing)["icl"]


def all_criteria(
    mixture: Any, pixels: ArrayLike, weights: ArrayLike | None, missing: str = "error"
) -> dict[str, Array]:
    """All of them by their names, from one pass; see `bic`."""
    mixture, array = conform(mixture, pixels, missing=missing)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    incomplete, mesh = missing == "nan", mesh_of(array)
    return _criteria(*alike(mixture, array, sample_weights), incomplete, mesh)
