"""scikit-learn estimators over jgmm: change the import and keep the rest of the script.

    from jgmm.sklearn import BayesianGaussianMixture, GaussianMixture, KMeans

They are scikit-learn's own classes with the work done by jgmm: parameters, attributes, checks,
warnings and random draws are theirs, and so, for the same ``random_state``, are the answers.
Beyond theirs: ``sample_weight`` for mixtures, `GaussianMixture.icl`, and a float32 that is safe.
Needs the extra ``jgmm[sklearn]``. Uses fitting and what is below it.
"""

from jgmm.sklearn._bayesian import BayesianGaussianMixture
from jgmm.sklearn._kmeans import KMeans
from jgmm.sklearn._mixture import GaussianMixture, from_mixture
from jgmm.sklearn._parameters import to_mixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture", "KMeans", "from_mixture", "to_mixture"]
