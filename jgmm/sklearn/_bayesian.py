"""`BayesianGaussianMixture`: scikit-learn's, with the variational Bayes of jgmm."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from scipy.special import digamma
from sklearn import mixture

from jgmm._struct import build
from jgmm.data.interruptible import interruptible
from jgmm.em.prior import Prior
from jgmm.families.table import family_of
from jgmm.mixture.density import evaluate
from jgmm.mixture.mixture import Mixture
from jgmm.sklearn import _start
from jgmm.sklearn._bayes_loop import BayesResult, bayes
from jgmm.sklearn._distinct import Distinct
from jgmm.sklearn._fitting import Fitting
from jgmm.sklearn._parameters import as_jgmm, as_sklearn, factorise
from jgmm.variational.posterior import VariationalPosterior
from jgmm.variational.weights import WEIGHT_PRIORS

Start = Mixture | VariationalPosterior


class BayesianGaussianMixture(
    Fitting[Start, BayesResult],
    mixture.BayesianGaussianMixture,  # type: ignore[misc]
):
    """Variational Bayes of a mixture, with the parameters and attributes of scikit-learn's.

    The same ``random_state`` gives the same start and, up to rounding, the same posterior and
    ``lower_bound_``, which is scikit-learn's: a sum over samples without constant terms.
    `jgmm.fit_variational` has the bound of the evidence, and the predictive density.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import BayesianGaussianMixture
        >>> x = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
        >>> fitted = BayesianGaussianMixture(n_components=2, random_state=42).fit(x)
        >>> fitted.means_.round(1)
        array([[2.5, 2.3],
               [8.5, 4.5]])
        >>> fitted.predict([[0, 0], [9, 3]])
        array([0, 1])
    """

    weights_: Any

    def _weigh(self, X: Any, weights: Any) -> None:
        """Priors of weighted samples, where they are made of samples."""
        w = np.asarray(weights, np.float64)
        if self.mean_prior is None:
            self.mean_prior_ = np.average(X, axis=0, weights=w).astype(X.dtype)
        if self.covariance_prior is None:
            self.covariance_prior_ = self._covariance(X, w)

    def _checkcovariance_prior_parameter(self, X: Any) -> None:
        """scikit-learn's, which makes the priors of all covariance types to take one."""
        if self.covariance_prior is None:
            self.covariance_prior_ = self._covariance(X, np.ones(len(X)))
        else:
            super()._checkcovariance_prior_parameter(X)

    def _covariance(self, X: Any, w: Any) -> Any:
        """The unbiased covariance of weighted samples, as scikit-learn has it for its type."""
        total = w.sum()
        gaps = X - w @ X / total
        scatter = (w[:, None] * gaps).T @ gaps / max(total - 1, total / 2)
        family = family_of(self.covariance_type)
        covariance = as_sklearn(family.of_matrices(scatter[None]), self.covariance_type)
        return covariance if family.shared else covariance[0]

    def _start(self, X: Any, weights: Any, samples: Distinct, random_state: Any) -> Mixture:
        """Moments of the samples under drawn responsibilities, as a mixture."""
        k, name = self.n_components, self.covariance_type
        shares, means, covariances = _start.drawn(
            X, weights, samples, k, name, self.reg_covar, self.init_params, random_state
        )
        return build(
            Mixture, weights=shares, means=means, covariances=covariances, family=family_of(name)
        )

    def _resumed(self) -> VariationalPosterior:
        return build(
            VariationalPosterior,
            concentrations=np.asarray(self.weight_concentration_),
            means=self.means_,
            mean_precisions=self.mean_precision_,
            degrees_of_freedom=np.atleast_1d(self.degrees_of_freedom_),
            covariances=as_jgmm(self.covariances_, self.covariance_type),
            family=family_of(self.covariance_type),
            weight_prior=WEIGHT_PRIORS[self.weight_concentration_prior_type],
        )

    def _unmoved(self, X: Any, weights: Any, start: Start) -> BayesResult:
        result = self._run(X, weights, start, -np.inf)
        no: Any = np.asarray(False)
        return dataclasses.replace(result, posterior=result.first, converged=no)

    def _run(self, X: Any, weights: Any, start: Start, bound: float) -> BayesResult:
        with jax.enable_x64(True):
            result = interruptible(
                lambda: bayes(
                    X,
                    weights,
                    start,
                    self._prior(),
                    WEIGHT_PRIORS[self.weight_concentration_prior_type],
                    tol=self.tol,
                    reg_covar=self.reg_covar,
                    max_iter=self.max_iter,
                    bound=bound,
                )
            )
        if result.failed:
            factorise(np.zeros_like(start.covariances), self.covariance_type)  # raises
        return result

    def _prior(self) -> Prior:
        d = len(self.mean_prior_)
        scale = np.asarray(self.covariance_prior_)
        return build(
            Prior,
            concentration=self.weight_concentration_prior_,
            mean=self.mean_prior_,
            mean_strength=self.mean_precision_prior_,
            scale=scale if scale.ndim == 2 else scale * np.eye(d),
            dof=self.degrees_of_freedom_prior_,
        )

    def _keep(self, best: BayesResult, X: Any, weights: Any) -> None:
        found, name, dtype = best.posterior, self.covariance_type, X.dtype
        dofs = np.asarray(found.degrees_of_freedom, dtype)
        concentrations = np.asarray(found.concentrations, dtype)
        self._set_parameters(
            (
                concentrations if concentrations.ndim == 1 else tuple(concentrations),
                np.asarray(found.mean_precisions, dtype),
                np.asarray(found.means, dtype),
                dofs[0] if found.family.shared else dofs,
                np.asarray(as_sklearn(found.covariances, name), dtype),
                np.asarray(factorise(found.covariances, name), dtype),
            )
        )
        self.weights_ = np.asarray(self.weights_, dtype)

    def _estimate_weighted_log_prob(self, X: Any, **_: Any) -> Any:
        """Log weights and log-densities, both as expected under the posterior [N, K]."""
        d = self.means_.shape[1]
        dofs = np.asarray(self.degrees_of_freedom_, np.float64)
        digammas = sum(digamma((dofs - i) / 2) for i in range(d)) - d * np.log(dofs / 2)
        logits = self._estimate_log_weights() + (digammas - d / self.mean_precision_) / 2
        top = np.max(logits)
        family = family_of(self.covariance_type)
        fitted = build(
            Mixture,
            weights=np.exp(logits - top),
            means=np.asarray(self.means_, np.float64),
            covariances=np.asarray(as_jgmm(self.covariances_, self.covariance_type), np.float64),
            family=family,
        )
        with jax.enable_x64(True):
            found = np.asarray(evaluate(fitted, X, "log_joint")[0]) + top
        return found.astype(X.dtype)
