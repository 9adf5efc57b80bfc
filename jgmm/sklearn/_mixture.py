"""`GaussianMixture`: scikit-learn's, with the EM of jgmm."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from sklearn import mixture
from sklearn.base import _fit_context
from sklearn.utils.validation import _check_sample_weight, validate_data

from jgmm._struct import amend, build
from jgmm.data.interruptible import interruptible
from jgmm.em.moments import Moments
from jgmm.families.matrices import Full
from jgmm.families.table import family_of
from jgmm.families.variances import Diag
from jgmm.mixture.density import evaluate
from jgmm.mixture.mixture import FitLike, Mixture, gaussian
from jgmm.sklearn import _loops, _online, _start
from jgmm.sklearn._distinct import Distinct
from jgmm.sklearn._fitting import Fitting
from jgmm.sklearn._parameters import as_jgmm, as_sklearn, factorise, to_mixture


class GaussianMixture(Fitting[Mixture, _loops.EmResult], mixture.GaussianMixture):  # type: ignore[misc]
    """A Gaussian mixture with the parameters and attributes of scikit-learn's.

    The same ``random_state`` gives the same start and, up to rounding, the same fit. float32
    data are fitted in float32, in a frame where that is safe.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import GaussianMixture
        >>> x = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> fitted = GaussianMixture(n_components=2, random_state=0).fit(x)
        >>> fitted.means_.round(6)
        array([[10.,  2.],
               [ 1.,  2.]])
        >>> fitted.predict([[0, 0], [12, 3]])
        array([1, 0])
    """

    _moments: Moments | None  # of what came, after `partial_fit`
    _weight: float | None  # of the samples of `fit`; None if unknown

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, memory: float = np.inf
    ) -> GaussianMixture:
        """A step of online EM with samples that came now; the first call is `fit`.

        After `fit`, what was fitted counts as much as its samples weigh; see `jgmm.partial_fit`.

        Args:
            X: samples [n, D].
            y: ignored.
            sample_weight: weights >= 0 of the samples [n]; None means all 1.
            memory: the weight of samples after which what was before counts for 1/e.

        Returns:
            The estimator itself; ``lower_bound_`` is the mean log-likelihood of these samples
            under the mixture before them, and ``converged_`` whether that changed by less than
            ``tol``.
        """
        if not memory > 0:
            raise ValueError(f"memory: expected a weight above 0, got {memory}")
        if not hasattr(self, "converged_"):
            self._fit(X, sample_weight=sample_weight)
            return self
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        with jax.enable_x64(True):
            fitted, self._moments, bound = _online.step(
                to_mixture(self), self._moments, self._weight, X, weights, self.reg_covar, memory
            )
        self._take(fitted, X.dtype)
        self.converged_ = bool(abs(bound - self.lower_bound_) < self.tol)
        self.n_iter_ += 1
        self.lower_bounds_ = [*self.lower_bounds_, bound]
        self.lower_bound_ = bound
        return self

    def _resumed(self) -> Mixture:
        return to_mixture(self)

    def _unmoved(self, X: Any, weights: Any, start: Mixture) -> _loops.EmResult:
        no: Any = np.asarray(False)
        zero: Any = np.asarray(0)
        none: Any = np.zeros(0)
        return _loops.EmResult(mixture=start, bounds=none, n_iter=zero, converged=no, failed=no)

    def _keep(self, best: _loops.EmResult, X: Any, weights: Any) -> None:
        self._moments, self._weight = None, float(weights.sum())
        self._take(best.mixture, X.dtype)

    def _start(self, X: Any, weights: Any, samples: Distinct, random_state: Any) -> Mixture:
        """The mixture to start from: drawn, then replaced by what the user gave."""
        shares, means, precisions = self.weights_init, self.means_init, self.precisions_init
        covariances: Any = None
        if shares is None or means is None or precisions is None:
            k, name, init = self.n_components, self.covariance_type, self.init_params
            started = _start.drawn(X, weights, samples, k, name, self.reg_covar, init, random_state)
            shares = started[0] if shares is None else shares
            means = started[1] if means is None else means
            covariances = started[2]
        if precisions is not None:
            independent = family_of(self.covariance_type).independent
            inverse = 1 / np.asarray(precisions) if independent else np.linalg.inv(precisions)
            covariances = as_jgmm(inverse, self.covariance_type)
        factorise(covariances, self.covariance_type)
        parts: Any = (np.asarray(part, X.dtype) for part in (shares, means, covariances))
        shares, means, covariances = parts
        family = family_of(self.covariance_type)
        # As scikit-learn has them: the weights may sum to less than one.
        return build(Mixture, weights=shares, means=means, covariances=covariances, family=family)

    def _run(self, X: Any, weights: Any, start: Mixture, bound: float) -> _loops.EmResult:
        with jax.enable_x64(True):
            result = interruptible(
                lambda: _loops.em(
                    X,
                    weights,
                    start,
                    tol=self.tol,
                    reg_covar=self.reg_covar,
                    max_iter=self.max_iter,
                    bound=bound,
                )
            )
        if result.failed:
            factorise(np.zeros_like(start.covariances), self.covariance_type)  # raises
        return result

    def _take(self, fitted: Mixture, dtype: Any) -> None:
        """Set the attributes to a mixture of jgmm."""
        covariances = as_sklearn(fitted.covariances, self.covariance_type)
        factors = factorise(fitted.covariances, self.covariance_type)
        parts = (fitted.weights, fitted.means, covariances, factors)
        self._set_parameters(tuple(np.asarray(part, dtype) for part in parts))

    def _estimate_weighted_log_prob(self, X: Any, **_: Any) -> Any:
        fitted = to_mixture(self)
        with jax.enable_x64(True):
            return np.asarray(evaluate(fitted, X, "log_joint")[0])

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """The Bayesian information criterion; the least is the best."""
        n = self._n_samples(X, sample_weight)
        return -2 * n * self.score(X, sample_weight=sample_weight) + self._n_parameters() * float(
            np.log(n)
        )

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion; the least is the best."""
        n = self._n_samples(X, sample_weight)
        return -2 * n * self.score(X, sample_weight=sample_weight) + 2 * self._n_parameters()

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """BIC plus twice the entropy of the responsibilities; the least is the best."""
        shares = self.predict_proba(X)
        logs = np.log(np.where(shares > 0, shares, 1))
        weights = 1 if sample_weight is None else np.asarray(sample_weight)
        entropy = -float(np.sum(weights * np.sum(shares * logs, axis=1)))
        return self.bic(X, sample_weight=sample_weight) + 2 * entropy

    def _n_samples(self, X: Any, sample_weight: Any) -> float:
        return len(X) if sample_weight is None else float(np.sum(sample_weight))


def from_mixture(fitted: Mixture | FitLike) -> GaussianMixture:
    """A fitted estimator that holds a `jgmm.Mixture`, or that of the result of a fit.

    One of a family that scikit-learn has not (such as VEV) is of the full or diag covariances.

    Example:
        >>> import jgmm, jgmm.sklearn, numpy as np
        >>> normal = jgmm.Mixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 1)))
        >>> jgmm.sklearn.from_mixture(normal).score_samples([[0.0, 0.0]]).round(4)
        array([-1.8379])
    """
    host: Mixture = jax.device_get(gaussian(fitted, "from_mixture"))
    family, sizes = host.family, host.means.shape
    if family.name not in GaussianMixture._parameter_constraints["covariance_type"][0].options:
        wide = Diag() if family.independent else Full()
        kept = wide.of_matrices(family.dense(host.covariances, *sizes)).copy()
        host = amend(host, covariances=kept, family=wide)
    estimator = GaussianMixture(host.n_components, covariance_type=host.covariance_type)
    estimator._take(host, np.asarray(host.means).dtype)
    estimator.n_features_in_ = host.n_features
    estimator.converged_ = True
    estimator._moments, estimator._weight = None, None
    estimator.n_iter_, estimator.lower_bound_, estimator.lower_bounds_ = 0, -np.inf, []
    return estimator
