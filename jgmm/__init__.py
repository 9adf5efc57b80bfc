"""Gaussian mixture models for pixels, in JAX.

    result = jgmm.fit(pixels, k)             # any array [N, D]
    picture = jgmm.segment("photo.jpg", k)   # any image

`jgmm.plot`, `jgmm.sklearn` and `jgmm.interop` load when first used. The functions below work on
NumPy and jax arrays; all but `segment`, `save`, `load`, `keep_programs` and `use_all_cores` work
under `jax.jit` and `jax.vmap` too.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jgmm._status import Status
from jgmm._warnings import FitWarning, PrecisionWarning
from jgmm.clustering.k_means import KMeansResult, kmeans
from jgmm.clustering.lloyd import lloyd_step
from jgmm.data.devices import use_all_cores
from jgmm.data.kept import keep_programs
from jgmm.em.prior import Prior, weak_prior
from jgmm.em.result import FitResult
from jgmm.em.statistics import SufficientStats
from jgmm.em.steps import e_step, em_step, m_step
from jgmm.fitting.family_sweeps import FamiliesResult, sweep_families
from jgmm.fitting.fitting import fit
from jgmm.fitting.gradient import fit_gradient
from jgmm.fitting.information import StandardErrors, standard_errors
from jgmm.fitting.sweeps import SweepResult, sweep
from jgmm.image.segmentation import Segmentation, segment
from jgmm.mixture.criteria import aic, bic, icl
from jgmm.mixture.density import certainty, log_prob, predict, responsibilities, score
from jgmm.mixture.files import load, save
from jgmm.mixture.mixture import Mixture, sample
from jgmm.mixture.operations import condition, entropy, kl_divergence, marginal

__version__ = "0.1.0"
__all__ = [
    "FamiliesResult",
    "FitResult",
    "FitWarning",
    "KMeansResult",
    "Mixture",
    "PrecisionWarning",
    "Prior",
    "Segmentation",
    "StandardErrors",
    "Status",
    "SufficientStats",
    "SweepResult",
    "aic",
    "bic",
    "certainty",
    "condition",
    "e_step",
    "em_step",
    "entropy",
    "fit",
    "fit_gradient",
    "icl",
    "keep_programs",
    "kl_divergence",
    "kmeans",
    "lloyd_step",
    "load",
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
    "use_all_cores",
    "weak_prior",
]
# Loaded when first used, with the libraries that they need.
_LATE = ("image", "interop", "plot", "sklearn")

if TYPE_CHECKING:
    from jgmm import image as image
    from jgmm import interop as interop
    from jgmm import plot as plot
    from jgmm import sklearn as sklearn


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return importlib.import_module(f"jgmm.{name}")
    raise AttributeError(f"module 'jgmm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LATE])
