"""What the mixtures of `jgmm.sklearn` share: starts, runs, the choice of the best, and weights."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture._base import BaseMixture
from sklearn.utils import check_random_state
from sklearn.utils._array_api import get_namespace
from sklearn.utils.validation import _check_sample_weight, validate_data

from jgmm.sklearn._blas import one_thread
from jgmm.sklearn._distinct import Distinct, distinct


class Ran(Protocol):
    """How a run ended, on the host."""

    @property
    def bounds(self) -> Any:
        """The bound after each step."""

    @property
    def n_iter(self) -> Any:
        """Steps."""

    @property
    def converged(self) -> Any:
        """Whether the last changed it by less than ``tol``."""


S = TypeVar("S")  # what a run starts from
R = TypeVar("R", bound=Ran)


class Fitting(BaseMixture, Generic[S, R]):  # type: ignore[misc]
    """An estimator of scikit-learn's whose runs are made by jgmm; a base to name before its class.

    A subclass says what a run is; parameters, checks, draws and messages are scikit-learn's.
    """

    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]

    def _start(self, X: Any, weights: Any, samples: Distinct, random_state: Any) -> S:
        """Where a fresh run begins."""
        raise NotImplementedError

    def _resumed(self) -> S:
        """Where one begins that goes on from the last."""
        raise NotImplementedError

    def _unmoved(self, X: Any, weights: Any, start: S) -> R:
        """A run of no steps."""
        raise NotImplementedError

    def _run(self, X: Any, weights: Any, start: S, bound: float) -> R:
        """A run, whose first bound is compared with one."""
        raise NotImplementedError

    def _keep(self, best: R, X: Any, weights: Any) -> None:
        """Set the attributes to a run's end."""
        raise NotImplementedError

    def _weigh(self, X: Any, weights: Any) -> None:
        """Take weights into what was made of the samples before."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM from ``n_init`` starts and keep the best.

        Args:
            X: samples [N, D].
            y: ignored.
            sample_weight: weights >= 0 of the samples [N], counted as repetitions; None means
                all 1.

        Returns:
            The estimator itself.
        """
        with one_thread():
            self._fit(X, sample_weight=sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """`fit`, then the most probable component of each sample [N]."""
        return self.fit(X, sample_weight=sample_weight).predict(X)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def _fit(self, X: Any, sample_weight: Any) -> None:
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        if len(X) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = "
                f"{self.n_components}, n_samples = {len(X)}"
            )
        takes_xp = "xp" in inspect.signature(self._check_parameters).parameters
        self._check_parameters(X, **({"xp": get_namespace(X)[0]} if takes_xp else {}))
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if sample_weight is not None:
            self._weigh(X, weights)
        fresh = not (self.warm_start and hasattr(self, "converged_"))
        random_state = check_random_state(self.random_state)
        samples = distinct(X, weights)
        best: R | None = None
        for init in range(self.n_init if fresh else 1):
            self._print_verbose_msg_init_beg(init)
            start = self._start(X, weights, samples, random_state) if fresh else self._resumed()
            if self.max_iter == 0:
                best = self._unmoved(samples.rows, samples.weights, start)
                break
            bound = float(-np.inf if fresh else self.lower_bound_)
            result = self._run(samples.rows, samples.weights, start, bound)
            self._tell(result, bound)
            if best is None or result.bounds[-1] > best.bounds[-1]:
                best = result
        assert best is not None
        if self.max_iter > 0 and not best.converged:
            warnings.warn(
                "Best performing initialization did not converge. Try different init "
                "parameters, or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=2,
            )
        bounds: Any = best.bounds
        self._keep(best, X, weights)
        self.converged_ = bool(best.converged)
        self.n_iter_ = int(best.n_iter)
        self.lower_bounds_ = bounds.tolist()
        self.lower_bound_ = float(bounds[-1]) if len(bounds) else -np.inf

    def _tell(self, result: R, bound: float) -> None:
        """What scikit-learn prints of a run under ``verbose``, but for the times of single steps.

        All steps are one program, which says nothing until it ends.
        """
        if self.verbose:
            changes = np.diff(result.bounds, prepend=bound)
            for step in range(self.verbose_interval, len(changes) + 1, self.verbose_interval):
                change = f"\t ll change {changes[step - 1]:.5f}" if self.verbose >= 2 else ""
                print(f"  Iteration {step}{change}")
        self._print_verbose_msg_init_end(result.bounds[-1], bool(result.converged))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean log-likelihood in nats per (weighted) sample.

        Args:
            X: samples [N, D].
            y: ignored.
            sample_weight: weights >= 0 of the samples [N]; None means all equal.

        Returns:
            A float.
        """
        densities = self.score_samples(X)
        if sample_weight is None:
            return float(np.mean(densities))
        weights = _check_sample_weight(sample_weight, densities, ensure_non_negative=True)
        return float(np.average(densities, weights=weights))

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator; no arrays of other libraries are kept."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = False
        return tags
