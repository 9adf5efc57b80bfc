"""Gaussian mixture models for pixels, in JAX.

    result = jgmm.fit(pixels, k)             # any array [N, D]
    picture = jgmm.segment("photo.jpg", k)   # any image

The functions below work on NumPy and jax arrays. Those of images and files (`segment`, `apply`,
`save`, `load`, `load_model`) and `use_all_cores` work on the host, all others under `jax.jit` and
`jax.vmap` too.
"""

from jgmm._status import Status
from jgmm.clustering.k_means import KMeansResult, kmeans
from jgmm.clustering.lloyd import lloyd_step
from jgmm.data.devices import use_all_cores
from jgmm.em.prior import Prior, weak_prior
from jgmm.em.result import FitResult
from jgmm.em.statistics import SufficientStats
from jgmm.em.steps import e_step, em_step, m_step
from jgmm.fitting.family_sweeps import FamiliesResult, sweep_families
from jgmm.fitting.fitting import fit
from jgmm.fitting.gradient import fit_gradient
from jgmm.fitting.information import StandardErrors, standard_errors
from jgmm.fitting.sweeps import SweepResult, sweep
from jgmm.image.model import ImageModel
from jgmm.image.model_file import load_model
from jgmm.image.segmentation import Segmentation
from jgmm.image.segmenting import apply, segment
from jgmm.mixture.criteria import aic, bic, icl
from jgmm.mixture.density import certainty, log_prob, predict, responsibilities, score
from jgmm.mixture.files import load, save
from jgmm.mixture.mixture import Mixture, sample
from jgmm.mixture.operations import condition, entropy, kl_divergence, marginal

__version__ = "0.1.0"
__all__ = [
    "FamiliesResult",
    "FitResult",
    "ImageModel",
    "KMeansResult",
    "Mixture",
    "Prior",
    "Segmentation",
    "StandardErrors",
    "Status",
    "SufficientStats",
    "SweepResult",
    "aic",
    "apply",
    "bic",
    "certainty",
    "condition",
    "e_step",
    "em_step",
    "entropy",
    "fit",
    "fit_gradient",
    "icl",
    "kl_divergence",
    "kmeans",
    "lloyd_step",
    "load",
    "load_model",
    "log_prob",
    "m_step",
    "marginal",
    "predict",
    "responsibilities",
    "sample",
    "save",
    "score",
    "segment",
    "standard_errors",
    "sweep",
    "sweep_families",
    "weak_prior",
    "use_all_cores",
]
