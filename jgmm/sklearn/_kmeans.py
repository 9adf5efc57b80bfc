"""`KMeans`: scikit-learn's, over the folds of jgmm."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn import cluster
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.extmath import row_norms
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jgmm import _checks
from jgmm.clustering import lloyd
from jgmm.data.interruptible import interruptible
from jgmm.data.programs import program
from jgmm.data.samples import block_size, pad_rows
from jgmm.sklearn import _loops
from jgmm.sklearn._blas import one_thread
from jgmm.sklearn._distinct import Distinct, distinct

_label = program("size")(lloyd.label)


class KMeans(cluster.KMeans):  # type: ignore[misc]
    """k-means clustering with the parameters and attributes of `sklearn.cluster.KMeans`.

    Starts are drawn as scikit-learn draws them from ``random_state``; Lloyd's steps run in jgmm,
    whatever the ``algorithm`` (Elkan's finds the same clusters). Sparse data go to scikit-learn's
    own code.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import KMeans
        >>> x = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> found = KMeans(n_clusters=2, random_state=0).fit(x)
        >>> found.labels_, found.cluster_centers_
        (array([1, 1, 1, 0, 0, 0], dtype=int32), array([[10.,  2.],
               [ 1.,  2.]]))
    """

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Find the clusters.

        Args:
            X: samples [N, D].
            y: ignored.
            sample_weight: weights >= 0 of the samples [N]; None means all 1.

        Returns:
            The estimator itself.
        """
        if scipy.sparse.issparse(X):
            super().fit(X, sample_weight=sample_weight)
            return self
        X = validate_data(
            self, X, accept_sparse="csr", dtype=[np.float64, np.float32], order="C",
            accept_large_sparse=False,
        )  # fmt: skip
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        with one_thread():
            return self._find(X, weights, distinct(X, weights))

    def _find(self, X: Any, weights: Any, samples: Distinct) -> KMeans:
        """`fit`, of samples and weights that were checked.

        Starts are drawn of all samples, as scikit-learn does, and moved by the distinct ones.
        """
        self._check_params_vs_input(X)
        random_state = check_random_state(self.random_state)
        self._n_threads = 1  # of the inherited code that scores sparse data
        init = self.init
        if not isinstance(init, str) and not callable(init):
            init = check_array(init, dtype=X.dtype, copy=True, order="C")
            self._validate_center_shape(X, init)
        mean = X.mean(axis=0)
        moved = X - mean
        norms = row_norms(moved, squared=True)
        rows = samples.rows - mean
        best: tuple[Any, ...] | None = None
        for _ in range(self._n_init):
            if isinstance(init, np.ndarray):
                centers = init - mean
            else:
                centers = self._init_centroids(
                    moved, x_squared_norms=norms, init=init, random_state=random_state,
                    sample_weight=weights,
                )  # fmt: skip
            if self.verbose:
                print("Initialization complete")
            with jax.enable_x64(True):
                options = {"tol": float(self._tol), "max_iter": self.max_iter}
                found = interruptible(
                    partial(_loops.k_means, rows, samples.weights, centers, **options)
                )
            if self.verbose:
                self._tell(found)
            if best is None or found[2] < best[2]:
                best = found
        assert best is not None
        labels, centers, inertia, n_iter, _ = best
        n_found = len(np.unique(labels))
        if n_found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({n_found}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.cluster_centers_ = centers + mean
        self._n_features_out = len(centers)
        self.labels_ = labels[samples.place]
        self.inertia_ = float(inertia)
        self.n_iter_ = int(n_iter)
        return self

    def _tell(self, found: tuple[Any, ...]) -> None:
        _, _, inertia, n_iter, shift = found
        print(f"Iteration {n_iter - 1}, inertia {inertia}.")
        if shift <= np.finfo(shift.dtype).eps:
            print(f"Converged at iteration {n_iter - 1}: strict convergence.")
        elif shift <= self._tol:
            print(
                f"Converged at iteration {n_iter - 1}: center shift {shift} within tolerance "
                f"{self._tol}."
            )

    def predict(self, X: Any) -> Any:
        """The index of the nearest center of each sample [N]."""
        check_is_fitted(self)
        X = self._check_test_data(X)
        if scipy.sparse.issparse(X):
            return super().predict(X)
        return self._labels(X)

    def _labels(self, X: Any) -> Any:
        centers, used = _loops.pad_centers(self.cluster_centers_, X.size)
        with jax.enable_x64(True):
            rows = pad_rows(_checks.as_array(X, centers.dtype))
            size = block_size(len(centers), centers.shape[1], centers.dtype)
            labels = _label(rows, _checks.as_array(centers), _checks.as_array(used), size=size)
        return np.asarray(labels)[: len(X)]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the weighted sum of squared distances to the nearest centers."""
        check_is_fitted(self)
        X = self._check_test_data(X)
        if scipy.sparse.issparse(X):
            return float(super().score(X, sample_weight=sample_weight))
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        distances = np.sum((X - self.cluster_centers_[self._labels(X)]) ** 2, axis=1)
        return -float(np.sum(weights * distances))
