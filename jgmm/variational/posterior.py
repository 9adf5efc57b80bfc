"""The posterior of a mixture, as data."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array

from jgmm._struct import amend, build, struct
from jgmm.data.products import along, einsum
from jgmm.families.family import Family
from jgmm.mixture.mixture import Mixture
from jgmm.variational.weights import WeightPrior


@struct
class VariationalPosterior:
    """What is known of the parameters of K components in D dimensions.

    Weights, and each mean with its precision, are independent: weights ~ Dirichlet, or shares of
    sticks ~ Beta; Λ ~ Wishart of ν degrees of freedom and mean Σ⁻¹, and μ | Λ ~ N(mean, (β Λ)⁻¹),
    where Λ of diag components has a gamma for each feature and of spherical ones a single one.

    Attributes:
        concentrations: of the Dirichlet [K], or a and b of the Beta of each stick [2, K].
        means: [K, D].
        mean_precisions: β [K], in samples.
        degrees_of_freedom: ν [K], or [1] where components share a covariance.
        covariances: Σ, inverses of the mean precisions, in the shape of the family's covariances;
            S/ν of a Wishart whose scale is S⁻¹.
        family: of the covariances; static.
        weight_prior: of which kind the concentrations are; static.
    """

    concentrations: Array
    means: Array
    mean_precisions: Array
    degrees_of_freedom: Array
    covariances: Array
    family: Family
    weight_prior: WeightPrior

    @property
    def n_components(self) -> int:
        """K, those switched off included."""
        return int(self.means.shape[-2])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.means.shape[-1])

    @property
    def wishart_scales(self) -> Array:
        """Scales of the Wisharts, S⁻¹: [K, D, D], [1, D, D], or of gammas [K, D], [K, 1]."""
        inverse, _ = self.family.inverse_root(self.covariances, self.n_features)
        if self.family.independent:
            scales = inverse**2 / self.family.entries(self.n_features)
        else:
            scales = einsum("kji,kjl->kil", inverse, inverse)
        return scales / along(self.degrees_of_freedom, scales)

    def mixture(self, used: Array) -> Mixture:
        """The mixture of mean weights, means and inverses of mean precisions."""
        return build(
            Mixture,
            weights=self.weight_prior.means(self.concentrations, used),
            means=self.means,
            covariances=self.covariances,
            family=self.family,
        )


def resized(posterior: Any, k: int) -> Any:
    """The first ``k`` components, or as many with the first repeated; NumPy arrays stay so."""
    now = posterior.n_components
    family = posterior.family
    index = np.where(np.arange(k) < now, np.arange(k), 0)
    dofs = posterior.degrees_of_freedom
    return amend(
        posterior,
        concentrations=posterior.concentrations[..., index],
        means=posterior.means[index],
        mean_precisions=posterior.mean_precisions[index],
        degrees_of_freedom=dofs if family.shared else dofs[index],
        covariances=family.take(posterior.covariances, index),
    )
