from . import image as image
from . import interop as interop
from . import plot as plot
from . import sklearn as sklearn
from ._status import FitWarning, PrecisionWarning, Status
from .clustering.k_means import KMeansResult, kmeans
from .clustering.lloyd import lloyd_step
from .data.devices import use_all_cores
from .data.kept import keep_programs
from .em.prior import Prior, weak_prior
from .em.result import FitResult
from .em.statistics import SufficientStats
from .em.steps import e_step, em_step, m_step
from .fitting.family_sweeps import FamiliesResult, sweep_families
from .fitting.fitting import fit
from .fitting.gradient import fit_gradient
from .fitting.information import StandardErrors, standard_errors
from .fitting.streams.online import PartialFit, partial_fit
from .fitting.streams.streaming import fit_stream
from .fitting.sweeps import SweepResult, sweep
from .fitting.variational import fit_variational
from .image.applying import apply
from .image.model import ImageModel
from .image.model_file import load_model
from .image.segmentation import Segmentation
from .image.segmenting import segment
from .mixture.criteria import aic, bic, icl
from .mixture.density import certainty, log_prob, predict, responsibilities, score
from .mixture.files import load, save
from .mixture.mixture import Mixture
from .mixture.operations import condition, entropy, kl_divergence, marginal, sample
from .variational.posterior import VariationalPosterior
from .variational.predictive import predictive_log_prob
from .variational.result import VariationalResult

__version__: str
__all__ = [
    "FamiliesResult",
    "FitResult",
    "FitWarning",
    "ImageModel",
    "KMeansResult",
    "Mixture",
    "PartialFit",
    "PrecisionWarning",
    "Prior",
    "Segmentation",
    "StandardErrors",
    "Status",
    "SufficientStats",
    "SweepResult",
    "VariationalPosterior",
    "VariationalResult",
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
    "fit_stream",
    "fit_variational",
    "icl",
    "keep_programs",
    "kl_divergence",
    "kmeans",
    "lloyd_step",
    "load",
    "load_model",
    "log_prob",
    "m_step",
    "marginal",
    "partial_fit",
    "predict",
    "predictive_log_prob",
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
