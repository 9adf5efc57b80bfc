"""Mean field under a Gaussian kernel, against plain NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.special import softmax

import jgmm
from jgmm.image.spatial import _at_points, smooth


def scene(h: int = 21, w: int = 30, d: int = 2) -> tuple[jgmm.Mixture, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = (np.mgrid[:h, :w][1] > w // 2).astype(int) + (np.mgrid[:h, :w][0] > h // 2)
    x = truth[..., None] + rng.normal(0, 0.7, (h, w, d))
    factors = 0.7 * np.eye(d) + 0.1 * rng.normal(size=(3, d, d))
    mixture = jgmm.Mixture(
        weights=np.array([0.2, 0.5, 0.3]),
        means=np.arange(3.0)[:, None] * np.ones(d),
        covariances=np.einsum("kij,klj->kil", factors, factors),
    )
    return jax.tree.map(jax.numpy.asarray, mixture), x


def plainly(
    mixture: jgmm.Mixture,
    x: np.ndarray,
    inside: np.ndarray,
    sigma: float,
    unary: float,
    coupling: float,
    n_sweeps: int,
) -> np.ndarray:
    """The definition at the head of the module, with the full kernel between all pixels."""
    h, w, _ = x.shape
    means = np.asarray(mixture.means)
    log_n = np.stack(
        [
            np.asarray(
                jgmm.log_prob(
                    jgmm.Mixture(
                        weights=np.ones(1),
                        means=means[k : k + 1],
                        covariances=mixture.covariances[k : k + 1],
                    ),
                    x,
                )
            )
            for k in range(3)
        ],
        axis=-1,
    ).reshape(h * w, 3)
    places = np.argwhere(np.ones((h, w)))
    kernel = np.exp(-0.5 * ((places[:, None] - places) ** 2).sum(-1) / sigma**2)
    kernel = kernel * inside.ravel()
    kernel /= kernel.sum(1, keepdims=True)
    exponent = unary * log_n + np.log(mixture.weights)
    q = softmax(exponent, axis=1)
    for _ in range(n_sweeps):
        q = softmax(exponent + coupling * kernel @ q, axis=1)
    return q.reshape(h, w, 3)


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_what_the_definition_says(masked: bool) -> None:
    mixture, x = scene()
    inside = np.ones(x.shape[:2], bool)
    if masked:
        inside[:7, 5:16] = False
    sigma = 3.0
    options = {"unary": 0.5, "coupling": 4.0, "n_sweeps": 4}
    width = sigma / np.sqrt(inside.size)
    labels, sure = smooth(mixture, x, inside if masked else None, width=width, **options)
    q = plainly(mixture, x, inside, sigma, **options)
    np.testing.assert_allclose(sure[inside], q.max(-1)[inside], atol=2e-3)
    clear = inside & (np.sort(q, axis=-1)[..., -1] - np.sort(q, axis=-1)[..., -2] > 1e-2)
    np.testing.assert_array_equal(labels[clear], q.argmax(-1)[clear])
    assert (labels[~inside] == -1).all()
    assert (sure[~inside] == 0).all()


def test_without_coupling_it_is_the_mixture() -> None:
    mixture, x = scene()
    labels, sure = smooth(mixture, x, unary=1.0, coupling=0.0, n_sweeps=2)
    np.testing.assert_array_equal(labels, jgmm.predict(mixture, x))
    np.testing.assert_allclose(sure, jgmm.certainty(mixture, x), rtol=1e-9)


def test_unused_components_change_nothing() -> None:
    mixture, x = scene()
    more = jgmm.Mixture(
        weights=np.append(mixture.weights, [0.0, 0.0]),
        means=np.concatenate([mixture.means, mixture.means[:2]]),
        covariances=np.concatenate([mixture.covariances, mixture.covariances[:2]]),
    )
    expected, actual = smooth(mixture, x), smooth(more, x)
    np.testing.assert_array_equal(expected[0], actual[0])
    np.testing.assert_allclose(expected[1], actual[1], rtol=1e-9)


def test_it_mends_specks_and_keeps_edges() -> None:
    truth = np.zeros((64, 64))
    truth[:, 32:] = 1
    truth[40:] = 1 - truth[40:]
    noisy = truth[..., None] + np.random.default_rng(0).normal(0, 0.5, (64, 64, 1))
    mixture = jgmm.Mixture(
        weights=np.ones(2) / 2, means=np.array([[0.0], [1.0]]), covariances=np.full((2, 1), 0.25)
    )
    plain = np.mean(np.asarray(jgmm.predict(mixture, noisy)) != truth)
    smoothed = np.mean(smooth(mixture, noisy, width=2 / 64, unary=1.0)[0] != truth)
    assert plain > 0.12
    assert smoothed < 0.02


def test_wrong_arguments() -> None:
    mixture, x = scene()
    with pytest.raises(ValueError, match=r"\[H, W, D\]"):
        smooth(mixture, x[0])
    with pytest.raises(ValueError, match="mask"):
        smooth(mixture, x, np.ones((3, 4), bool))


def test_an_image_turned_is_its_labels_turned() -> None:
    mixture, x = scene()
    labels, sure = smooth(mixture, x)
    turned = smooth(mixture, x.swapaxes(0, 1))
    np.testing.assert_array_equal(turned[0].T, labels)
    np.testing.assert_allclose(turned[1].T, sure, rtol=1e-9)


def test_a_long_image_has_points_near_by_only() -> None:
    near = _at_points(20_000, 20_000, 0.02 * np.sqrt(20_000))
    assert near.values.size < 30 * 20_000
    assert near.points > 5000  # times 20,000 pixels that would be 400 MB
    short = _at_points(200, 200, 4.0)
    places = np.arange(200)
    kernel = short.dense() @ short.dense().T
    expected = np.exp(-0.5 * (places[:, None] - places) ** 2 / 4.0**2)
    np.testing.assert_allclose(kernel / kernel[100, 100], expected, atol=0.02)


def test_neighbours_alone_may_decide() -> None:
    mixture, x = scene()  # of three components, which come with one that is unused
    labels, sure = smooth(mixture, x, unary=0.0)
    assert (labels == np.asarray(mixture.weights).argmax()).all()
    assert np.isfinite(sure).all()
