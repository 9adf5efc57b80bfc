"""The estimators against scikit-learn's own, from the same random state."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import jax
import numpy as np
import pytest
import sklearn.cluster
import sklearn.mixture
from examples import DTYPES, FAMILIES, K, overlapping
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import jgmm
from jgmm.sklearn import BayesianGaussianMixture, GaussianMixture, KMeans, from_mixture, to_mixture

X = overlapping()
OF_THEIR_OWN = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
STARTS = ("kmeans", "k-means++", "random", "random_from_data")


def both(x: np.ndarray = X, **options: Any) -> tuple[GaussianMixture, Any]:
    """The same fit by jgmm and by scikit-learn."""
    options = {"n_components": K, "random_state": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sklearn.mixture.GaussianMixture(**options).fit(x)
        return GaussianMixture(**options).fit(x), theirs


def assert_same(ours: Any, theirs: Any, tolerance: float = 1e-7) -> None:
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=tolerance)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=tolerance)
    for name in OF_THEIR_OWN:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("init_params", STARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_is_theirs(family: str, init_params: str) -> None:
    ours, theirs = both(covariance_type=family, init_params=init_params, reg_covar=1e-3)
    assert_same(ours, theirs)
    for method in ("predict", "predict_proba", "score_samples", "score", "bic", "aic"):
        got, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.sample(5)[0], theirs.sample(5)[0], atol=1e-6)


def test_restarts_warm_starts_and_given_parameters_are_theirs() -> None:
    assert_same(*both(n_init=3, init_params="random", max_iter=5))
    means, weights = X[:K], np.array([0.2, 0.3, 0.5])
    given = {"means_init": means, "weights_init": weights}
    assert_same(*both(**given))
    precisions = np.array([np.eye(X.shape[1])] * K)
    assert_same(*both(precisions_init=precisions, max_iter=3, **given))
    ours, theirs = both(warm_start=True, max_iter=2, tol=1e-9)
    with pytest.warns(ConvergenceWarning):
        assert_same(ours.fit(X), theirs.fit(X))


def test_float32_is_kept_and_safe_far_from_the_origin() -> None:
    far = (X + 1000).astype(np.float32)
    ours = GaussianMixture(K, random_state=0, tol=1e-5, max_iter=500).fit(far)
    theirs = sklearn.mixture.GaussianMixture(K, random_state=0, tol=1e-5, max_iter=500)
    theirs.fit(far.astype(np.float64))
    assert ours.means_.dtype == ours.covariances_.dtype == np.float32
    assert ours.score_samples(far).dtype == np.float32
    np.testing.assert_allclose(ours.score(far), theirs.score(far.astype(float)), atol=1e-4)


def test_float64_is_kept_whatever_jax_is_set_to() -> None:
    with jax.enable_x64(False):
        assert_same(*both())
        assert jax.numpy.asarray(X).dtype == np.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_repetitions(family: str) -> None:
    x = X[:150]  # so that their repetitions are padded as the samples of other tests are
    weights = np.random.default_rng(0).integers(0, 4, size=len(x))
    options = {"covariance_type": family, "means_init": X[:K], "tol": 1e-6, "max_iter": 500}
    options["weights_init"] = np.full(K, 1 / K)
    ones = {"full": np.eye(3)[None].repeat(K, 0), "tied": np.eye(3)}
    ones |= {"diag": np.ones((K, 3)), "spherical": np.ones(K)}
    options["precisions_init"] = ones[family]
    weighted = GaussianMixture(K, **options).fit(x, sample_weight=weights)
    repeated = GaussianMixture(K, **options).fit(x.repeat(weights, axis=0))
    assert_same(weighted, repeated, 1e-8)
    for criterion in ("bic", "aic", "icl"):
        got = getattr(weighted, criterion)(x, sample_weight=weights)
        expected = getattr(repeated, criterion)(x.repeat(weights, axis=0))
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_partial_fit_goes_on_where_a_fit_was() -> None:
    """The first call is a fit; of one component all of them together are, up to the last bit."""
    blocks = np.array_split(X, 5)
    one = GaussianMixture(1, reg_covar=1e-3)
    for block in blocks:
        assert one.partial_fit(block) is one
    assert_close(one, GaussianMixture(1, reg_covar=1e-3).fit(X))
    assert len(one.lower_bounds_) == one.n_iter_
    several = GaussianMixture(K, random_state=0).fit(X)
    before = several.score(X)
    weights = np.r_[np.ones(len(X)), np.zeros(5)]
    moved = clone(several).fit(X).partial_fit(np.r_[X, X[:5] + 99], sample_weight=weights)
    assert moved.score(X) >= before - 1e-6
    assert abs(moved.lower_bound_ - before) < 1e-9
    with pytest.raises(ValueError, match="features"):
        moved.partial_fit(X[:, :1])
    with pytest.raises(ValueError, match="memory"):
        moved.partial_fit(X, memory=0)
    assert from_mixture(to_mixture(moved)).partial_fit(X[:9]).n_iter_ == 1


def assert_close(ours: Any, theirs: Any) -> None:
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-7)


def test_icl_is_the_core_s() -> None:
    fitted = GaussianMixture(K, random_state=0).fit(X)
    np.testing.assert_allclose(fitted.icl(X), jgmm.icl(to_mixture(fitted), X), rtol=1e-9)
    np.testing.assert_allclose(fitted.bic(X), jgmm.bic(to_mixture(fitted), X), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixtures_go_there_and_back(family: str) -> None:
    fitted = GaussianMixture(K, covariance_type=family, random_state=0).fit(X)
    mixture = to_mixture(fitted)
    assert mixture.covariance_type == family
    back = from_mixture(mixture)
    np.testing.assert_array_equal(back.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_allclose(jgmm.score(mixture, X), fitted.score(X), rtol=1e-12)


def test_a_collapse_is_their_error_and_no_convergence_their_warning() -> None:
    x = np.repeat([[0.0, 0], [1, 1]], 5, axis=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMixture(2, reg_covar=0, random_state=0).fit(x)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        GaussianMixture(K, max_iter=1, random_state=0).fit(X)
    with pytest.raises(NotFittedError):
        GaussianMixture().predict(X)


def test_life_in_scikit_learn() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), GaussianMixture(random_state=0)),
        {"gaussianmixture__n_components": [1, 3]},
        cv=2,
    ).fit(X)
    assert search.best_params_["gaussianmixture__n_components"] == 3
    best = search.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict(X), best.predict(X))
    assert clone(best[-1]).get_params() == best[-1].get_params()


def test_pandas_and_set_output() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["r", "g", "b"])
    fitted = GaussianMixture(K, random_state=0).fit(frame)
    assert fitted.feature_names_in_.tolist() == ["r", "g", "b"]
    distances = KMeans(2, random_state=0).set_output(transform="pandas").fit_transform(frame)
    assert distances.columns.tolist() == ["kmeans0", "kmeans1"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("init", ["k-means++", "random", "given"])
def test_clusters_are_theirs(init: Any, dtype: type) -> None:
    x = X.astype(dtype)
    options = {"n_clusters": K, "random_state": 0, "n_init": 1 if init == "given" else 3}
    options["init"] = x[:K] if init == "given" else init
    weights = np.random.default_rng(0).uniform(size=len(x))
    ours = KMeans(**options).fit(x, sample_weight=weights)
    theirs = sklearn.cluster.KMeans(**options).fit(x, sample_weight=weights)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.cluster_centers_.dtype == dtype
    assert ours.n_iter_ == theirs.n_iter_
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    for got, expected in (
        (ours.cluster_centers_, theirs.cluster_centers_),
        (ours.inertia_, theirs.inertia_),
        (ours.transform(x), theirs.transform(x)),
        (ours.score(x), theirs.score(x)),
    ):
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_clusters_of_samples_that_come_again_are_theirs() -> None:
    x = np.tile(X, (-(-(1 << 14) // len(X)), 1))
    options = {"n_clusters": K, "random_state": 0, "n_init": 1}
    ours, theirs = KMeans(**options).fit(x), sklearn.cluster.KMeans(**options).fit(x)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    assert ours.n_iter_ == theirs.n_iter_


def test_sparse_data_are_clustered() -> None:
    x = sparse.csr_matrix(np.abs(X))
    ours = KMeans(K, random_state=0).fit(x)
    np.testing.assert_array_equal(ours.predict(x), ours.labels_)
    assert ours.score(x) < 0


@pytest.mark.parametrize(
    ("estimator", "may_fail"),
    [
        (GaussianMixture(), set()),
        (BayesianGaussianMixture(), set()),
        # scikit-learn's own fails these too: a random start depends on the order of the samples.
        (
            KMeans(),
            {
                "check_sample_weight_equivalence_on_dense_data",
                "check_sample_weight_equivalence_on_sparse_data",
            },
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn(estimator: Any, may_fail: set[str]) -> None:
    checks = check_estimator(estimator, on_fail=None, on_skip=None)
    assert {c["check_name"] for c in checks if c["status"] == "failed"} <= may_fail


@pytest.mark.parametrize("verbose", [1, 2])
def test_what_is_printed_has_no_times_of_steps(
    verbose: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not known; all else is what scikit-learn prints."""
    options = {"n_components": K, "random_state": 0, "verbose": verbose, "verbose_interval": 3}
    printed = []
    for cls in (GaussianMixture, sklearn.mixture.GaussianMixture):
        cls(**options).fit(X)
        lines = capsys.readouterr().out.splitlines()
        printed.append([re.sub(r"\s*time lapse [0-9.]+s", "", line) for line in lines])
        if cls is GaussianMixture:
            steps = [line for line in lines if "Iteration" in line]
            assert steps
            assert not any("time" in line for line in steps)
    ours, theirs = ([re.sub(r"[-0-9.]{4,}", "#", line) for line in lines] for lines in printed)
    assert ours == theirs


def test_only_fitted_gaussian_mixtures_become_mixtures() -> None:
    other = sklearn.mixture.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    for wrong, name in ((other, "BayesianGaussianMixture"), (KMeans(2), "KMeans"), (X, "ndarray")):
        with pytest.raises(TypeError, match=f"expected a fitted GaussianMixture, .*{name}"):
            to_mixture(wrong)
    with pytest.raises(NotFittedError):
        to_mixture(GaussianMixture(2))
    result = jgmm.fit(X, 2, max_iter=0)
    np.testing.assert_array_equal(from_mixture(result).means_, result.mixture.means)
