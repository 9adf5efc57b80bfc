from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import DTYPES, TOLERANCE, D, K, N, cast, overlapping
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.cluster import KMeans

import jgmm
from jgmm import Status
from jgmm.clustering import lloyd
from jgmm.clustering import plus_plus as plusplus
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
WIDE = overlapping(n=300, d=20)
ONES = np.ones(N)

lloyd_step = program()(jgmm.lloyd_step)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_lloyd_step_is_the_reference(dtype: type) -> None:
    """Far from the origin, where |x|² - 2 x·c + |c|² has no digits left in float32."""
    x, w = cast(X + 1000, dtype), cast(W, dtype)
    centroids = x[:K]
    for _ in range(3):
        moved, inertia = lloyd_step(centroids, x, w)
        assert moved.dtype == inertia.dtype == dtype
        exact = (np.asarray(a, np.float64) for a in (centroids, x, w))
        expected, expected_inertia = reference.lloyd_step(*exact)
        np.testing.assert_allclose(moved - 1000, expected - 1000, atol=10 * _ulp(dtype))
        np.testing.assert_allclose(inertia, expected_inertia, rtol=TOLERANCE[np.dtype(dtype)])
        centroids = np.asarray(moved)


def _ulp(dtype: type) -> float:
    return float(np.spacing(dtype(1000)))


def test_many_features_and_several_blocks() -> None:
    moved, inertia = lloyd_step(WIDE[:5], WIDE)
    expected, expected_inertia = reference.lloyd_step(WIDE[:5], WIDE, np.ones(300))
    np.testing.assert_allclose(moved, expected, rtol=1e-9)
    np.testing.assert_allclose(inertia, expected_inertia, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_inertia_never_rises(seed: int) -> None:
    x = overlapping(seed)
    centroids = jnp.asarray(x[:K])
    inertias = []
    for _ in range(6):
        centroids, inertia = lloyd_step(centroids, x, W)
        inertias.append(float(inertia))
    assert np.diff(inertias).max() <= 1e-12 * inertias[0]


@given(seed=st.integers(0, 2**32 - 1))
def test_integer_weights_are_repetitions(seed: int) -> None:
    counts = np.random.default_rng(seed).multinomial(N, np.ones(N) / N).astype(float)
    weighted, inertia = lloyd_step(X[:K], X, counts)
    repeated, expected = lloyd_step(X[:K], np.repeat(X, counts.astype(int), axis=0), ONES)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-9)
    np.testing.assert_allclose(inertia, expected, rtol=1e-9)


def test_an_empty_centroid_stays() -> None:
    centroids = np.concatenate([X[:2], [[50.0, 50.0, 50.0]]])
    moved, _ = lloyd_step(centroids, X, W)
    np.testing.assert_allclose(moved[2], [50, 50, 50], rtol=1e-12)
    np.testing.assert_allclose(moved[:2], lloyd_step(X[:2], X, W)[0], rtol=1e-9)


def test_a_tie_goes_to_the_first() -> None:
    """Ties are common among whole numbers; the inertia counts such a pixel in full."""
    centroids, x = np.array([[-1.0], [1.0]]), np.array([[-1.0], [0.0], [1.0]])
    weights = np.array([1.0, 2.0, 1.0])
    moved, inertia = lloyd_step(centroids, x, weights)
    expected, expected_inertia = reference.lloyd_step(centroids, x, weights)
    np.testing.assert_allclose(moved, expected, rtol=1e-12)
    np.testing.assert_allclose(inertia, expected_inertia, rtol=1e-12)
    # Of centroids that coincide all but the first are empty.
    twice, x = np.array([[-1.0], [-1.0], [1.0]]), np.array([[-1.0], [-0.5], [1.0]])
    moved, _ = lloyd_step(twice, x, weights)
    np.testing.assert_allclose(moved, [[-2 / 3], [-1], [1]], rtol=1e-12)


# --- k-means++ ---

# Six points of unequal weight. No two leave the same inertia when taken second, and 6 is not a
# square, so that the search by rows has a ragged last row.
POINTS = np.array([[0.0, 0.0], [1.0, 0.2], [5.0, 1.0], [6.0, -3.0], [-4.0, 7.0], [-2.5, 0.7]])
MASSES = np.array([1.0, 3.0, 0.5, 2.0, 1.5, 0.0])


def test_plus_plus_draws_with_the_right_probabilities() -> None:
    """First in proportion to the weights, then greedily among candidates drawn by w · D²."""
    draws = 20_000
    keys = jax.random.split(jax.random.key(11), draws)
    run = program()(
        jax.vmap(lambda key: plusplus.plus_plus(jnp.asarray(POINTS.T), jnp.asarray(MASSES), 2, key))
    )
    centroids = np.asarray(run(keys))
    taken = np.array(
        [[np.flatnonzero((POINTS == c).all(1))[0] for c in pair] for pair in centroids]
    )
    expected = np.zeros((6, 6))
    for i, first in enumerate(reference.plus_plus_probabilities([], POINTS, MASSES)):
        if first > 0:
            expected[i] = first * reference.greedy_probabilities(
                [POINTS[i]], POINTS, MASSES, plusplus._TRIALS
            )
    np.testing.assert_allclose(expected.sum(), 1, rtol=1e-12)
    observed = np.zeros((6, 6))
    np.add.at(observed, (taken[:, 0], taken[:, 1]), 1)
    assert (observed[expected == 0] == 0).all()
    # Cells of few expected draws are one class.
    likely = draws * expected > 10
    rest = [observed[~likely].sum()], [draws * expected[~likely].sum()]
    statistic = chisquare(
        np.append(observed[likely], rest[0]), np.append(draws * expected[likely], rest[1])
    )
    assert statistic.pvalue > 1e-3


def test_plus_plus_takes_distinct_pixels() -> None:
    """As long as there are any; and never one of weight 0."""
    colours = np.random.default_rng(0).permutation(8)[:, None] * np.ones(3)
    x = np.repeat(colours, 20, axis=0)
    weights = np.where(x[:, 0] == 5, 0.0, 1.0)
    run = program()(lambda key: plusplus.plus_plus(jnp.asarray(x.T), jnp.asarray(weights), 7, key))
    for seed in range(10):
        values = sorted(np.asarray(run(jax.random.key(seed)))[:, 0].tolist())
        assert values == [0, 1, 2, 3, 4, 6, 7]


def test_a_start_of_fewer_is_the_beginning_of_a_start_of_more() -> None:
    run = program()(lambda x, w, key: [plusplus.plus_plus(x, w, k, key) for k in (3, 5)])
    three, five = run(jnp.asarray(X.T), jnp.asarray(W), jax.random.key(1))
    np.testing.assert_array_equal(three, five[:3])


# --- the whole ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_is_a_fixed_point(dtype: type) -> None:
    """Inertia and labels belong to the centroids returned, to which another step adds nothing."""
    x, w = cast(X, dtype), cast(W, dtype)
    result = jgmm.kmeans(x, K, weights=w, tol=0)
    assert result.status == Status.CONVERGED
    assert result.centroids.dtype == result.inertia.dtype == dtype
    assert result.labels.dtype == result.n_iter.dtype == jnp.int32
    centroids, x64, w64 = (np.asarray(a, np.float64) for a in (result.centroids, x, w))
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_array_equal(result.labels, reference.nearest(centroids, x64))
    np.testing.assert_allclose(
        result.inertia, reference.inertia(centroids, x64, w64), rtol=tolerance
    )
    moved, _ = reference.lloyd_step(centroids, x64, w64)
    np.testing.assert_allclose(moved, centroids, atol=tolerance)
    result.raise_for_status()


def test_inertia_and_labels_belong_to_the_centroids_also_when_stopped_early() -> None:
    result = jgmm.kmeans(X, 6, weights=W, max_iter=1, tol=0)
    np.testing.assert_allclose(
        result.inertia, reference.inertia(np.asarray(result.centroids), X, W), rtol=1e-9
    )
    np.testing.assert_array_equal(result.labels, reference.nearest(result.centroids, X))
    assert result.n_iter == 1


def test_stopping_early_is_told() -> None:
    """On data that are more than the subsample on which it starts."""
    x = np.random.default_rng(0).uniform(size=(20_000, 2)).astype(np.float32)
    result = jgmm.kmeans(x, 12, max_iter=1, tol=0)
    assert result.status == Status.MAX_ITER
    with pytest.raises(RuntimeError, match="MAX_ITER"):
        result.raise_for_status()
    assert result.labels.shape == (20_000,)
    longer = jgmm.kmeans(x, 12, max_iter=300, tol=0)
    assert longer.inertia < result.inertia
    labels = np.asarray(longer.labels)
    centroids = np.array([x[labels == k].mean(axis=0, dtype=np.float64) for k in range(12)])
    np.testing.assert_allclose(longer.centroids, centroids, atol=1e-5)


def test_restarts_are_never_worse() -> None:
    for seed in range(3):
        key = jax.random.key(seed)
        keys = jax.random.split(key, 4)
        singly = [float(jgmm.kmeans(X, 6, key=k).inertia) for k in keys]
        together = jgmm.kmeans(X, 6, key=key, n_restarts=4)
        np.testing.assert_allclose(together.inertia, min(singly), rtol=1e-9)


def test_the_key_decides() -> None:
    first, again = jgmm.kmeans(X, 6), jgmm.kmeans(X, 6, key=jax.random.key(0))
    np.testing.assert_array_equal(first.centroids, again.centroids)
    others = [jgmm.kmeans(X, 6, key=jax.random.key(s)).centroids for s in range(1, 4)]
    assert any(not np.allclose(first.centroids, other) for other in others)


def test_pixels_of_weight_zero_do_not_count() -> None:
    junk = np.concatenate([X[:200], np.full((40, D), 1e6)])
    ours = jgmm.kmeans(junk, K, weights=np.r_[W[:200], np.zeros(40)])
    expected = jgmm.kmeans(X[:200], K, weights=W[:200])
    np.testing.assert_allclose(ours.centroids, expected.centroids, rtol=1e-9)
    np.testing.assert_allclose(ours.inertia, expected.inertia, rtol=1e-9)


@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1.0), (0.0, 1e-3), (0.0, 1e3)])
def test_shift_and_scale_are_followed(offset: float, scale: float) -> None:
    base = jgmm.kmeans(X, K)
    moved = jgmm.kmeans(X * scale + offset, K)
    np.testing.assert_array_equal(moved.labels, base.labels)
    np.testing.assert_allclose((moved.centroids - offset) / scale, base.centroids, atol=1e-8)
    np.testing.assert_allclose(moved.inertia, base.inertia * scale**2, rtol=1e-8)


def test_empty_clusters_are_seeded_anew() -> None:
    """From a start with all centroids but one out of reach, all get some of the pixels."""
    pool = Rows(features=jnp.asarray(X), weights=jnp.asarray(W))
    samples = make_samples(pool, 256)
    x = pool.features
    start = jnp.concatenate([x[:1], jnp.full((5, D), 1e3) + jnp.arange(5.0)[:, None]])
    state = program()(lloyd.run)(
        start, jnp.ones(6, bool), samples, pool, jnp.asarray(0.0), jnp.asarray(100, jnp.int32)
    )
    labels = reference.nearest(np.asarray(state.centroids), X)
    assert len(np.unique(labels)) == 6
    np.testing.assert_allclose(
        lloyd.inertia(state.centroids, jnp.ones(6, bool), samples),
        reference.inertia(np.asarray(state.centroids), X, W),
        rtol=1e-9,
    )


def test_centroids_that_coincide_part() -> None:
    pool = Rows(features=jnp.asarray(X), weights=jnp.asarray(W))
    state = program()(lloyd.run)(
        jnp.tile(pool.features[:1], (6, 1)),
        jnp.ones(6, bool),
        make_samples(pool, 256),
        pool,
        jnp.asarray(0.0),
        jnp.asarray(100, jnp.int32),
    )
    assert len(np.unique(reference.nearest(np.asarray(state.centroids), X))) == 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("x", "inertia"),
    [
        (np.full((50, D), 7.0), 0),
        (np.full((1, D), 7.0), 0),
        (np.repeat([[0.0, 0, 0], [255, 0, 0]], 25, axis=0), 0),
        (np.repeat([[0.0, 0, 0], [1, 0, 0], [1e6, 0, 0], [1e6 + 2, 0, 0]], 10, axis=0), 10),
    ],
    ids=["constant", "one pixel", "two colours", "far apart"],
)
def test_awkward_pixels(x: np.ndarray, inertia: float, dtype: type) -> None:
    result = jgmm.kmeans(x.astype(dtype), 3)
    assert jnp.isfinite(result.centroids).all()
    exact = reference.inertia(np.asarray(result.centroids, np.float64), x, np.ones(len(x)))
    # Of what the pixels' own rounding gives a centroid.
    rounding = len(x) * (4 * np.finfo(dtype).eps * np.abs(x).max()) ** 2
    assert exact <= inertia * 1.01 + rounding
    assert float(result.inertia) <= inertia * 1.01 + rounding
    assert result.status in (Status.CONVERGED, Status.MAX_ITER)


def test_no_weight_at_all() -> None:
    result = jgmm.kmeans(X, K, weights=np.zeros(N))
    assert jnp.isfinite(result.centroids).all()
    assert result.inertia == 0


def test_nan_under_a_trace_is_a_status() -> None:
    bad = X.copy()
    bad[3, 1] = np.nan
    both = program()(jax.vmap(lambda x: jgmm.kmeans(x, K)))(np.stack([bad, X]))
    assert both.status.tolist() == [Status.NONFINITE, Status.CONVERGED]
    alone = jgmm.kmeans(X, K)
    np.testing.assert_allclose(both.centroids[1], alone.centroids, rtol=1e-9)
    np.testing.assert_array_equal(both.labels[1], alone.labels)


@pytest.mark.parametrize("name", ["scenery", "bsds-train/100098"])
def test_photographs_against_scikit_learn(shared_data: Path, name: str) -> None:
    pixels = iio.imread(shared_data / f"{name}.jpg").reshape(-1, 3)
    pixels = pixels[:: len(pixels) // 7000][:7000].astype(np.float32)  # one program
    k = 7
    best = KMeans(k, n_init=10, random_state=0).fit(pixels).inertia_
    ours = jgmm.kmeans(pixels, k, n_restarts=10)
    assert float(ours.inertia) <= 1.01 * best
    np.testing.assert_allclose(
        ours.inertia,
        np.sum((pixels - np.asarray(ours.centroids, np.float64)[ours.labels]) ** 2),
        rtol=1e-5,
    )
