"""What is drawn of mixtures and colours is what there is."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from skimage.color import rgb2lab

import jgmm
from jgmm import plot

RNG = np.random.default_rng(0)
MIXTURE = jgmm.Mixture(
    np.array([0.75, 0.25]),
    np.array([[0.2, 0.5, 0.1], [0.9, 0.3, 0.6]]),
    np.array([[[4, 1, 0], [1, 2, 0], [0, 0, 1.0]], [[1, 0, 0.5], [0, 3, 0], [0.5, 0, 2]]]) / 100,
)
DATA = RNG.normal([0.4, 0.5, 0.3], 0.25, (300, 3))


def test_ellipses_are_so_many_deviations_from_the_mean() -> None:
    ax = plot.components(MIXTURE, DATA, features=(0, 2), deviations=(1.0, 2.0))
    drawn = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(drawn, DATA[:, [0, 2]])
    assert len(ax.patches) == 4
    for i, patch in enumerate(ax.patches):
        points = patch.get_patch_transform().transform(patch.get_path().vertices)
        mean = MIXTURE.means[i // 2][[0, 2]]
        cov = MIXTURE.covariances[i // 2][np.ix_([0, 2], [0, 2])]
        apart = points[:8] - mean  # a path of curves: its ends lie on the ellipse
        distance = np.sqrt(np.einsum("ni,ij,nj->n", apart, np.linalg.inv(cov), apart))
        assert distance.min() == pytest.approx(1.0 + i % 2, rel=1e-6)


def test_the_density_is_that_of_the_marginal() -> None:
    ax = plot.density(MIXTURE, features=(1, 0), n_points=9)
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    x = left + (right - left) * (np.arange(9) + 0.5) / 9
    y = bottom + (top - bottom) * (np.arange(9) + 0.5) / 9
    expected = jgmm.log_prob(jgmm.marginal(MIXTURE, (1, 0)), np.array([[x[2], y[7]]]))
    assert float(image.get_array()[7, 2]) == pytest.approx(float(np.ravel(expected)[0]), rel=1e-5)


def test_samples_have_the_colours_of_their_components() -> None:
    ax = plot.classification(MIXTURE, DATA)
    (points,) = ax.collections
    labels = np.asarray(jgmm.predict(MIXTURE, DATA))
    colours = points.get_facecolors()
    assert len({tuple(colour) for colour in colours[labels == 0]}) == 1
    assert (colours[labels == 0][0] != colours[labels == 1][0]).any()
    sure = np.asarray(jgmm.certainty(MIXTURE, DATA))
    assert (np.argsort(points.get_sizes()) == np.argsort(-sure)).mean() > 0.5
    np.testing.assert_allclose(points.get_offsets(), DATA[:, :2])


def test_colours_lie_where_they_are() -> None:
    pixels = RNG.integers(0, 256, (6, 7, 3)).astype(np.uint8)
    unit = pixels.reshape(-1, 3) / 255
    ax = plot.colours(pixels, MIXTURE)
    np.testing.assert_allclose(np.transpose(ax.collections[0]._offsets3d), unit)
    np.testing.assert_allclose(np.transpose(ax.collections[1]._offsets3d), MIXTURE.means)
    ax = plot.colours(pixels, space="lab")
    lab = rgb2lab(unit)[:, [1, 2, 0]]
    np.testing.assert_allclose(np.transpose(ax.collections[0]._offsets3d), lab)


def test_discs_of_means_are_above_the_points() -> None:
    mean = np.array([0.9, 0.1, 0.2])
    pixels = np.clip(RNG.normal(mean, 0.02, (4000, 3)), 0, 1)
    pixels[:, 1] = 0.1 + RNG.random(4000) * 0.8  # from the front to the back
    mixture = jgmm.Mixture(np.ones(1), mean[None] + [0, 0.4, 0], np.eye(3)[None])
    ax = plot.colours(pixels, mixture)
    figure = ax.get_figure(root=True)
    figure.canvas.draw()
    points, disc = ax.collections
    assert disc.get_zorder() > points.get_zorder()
    x, y = ax.transData.transform(disc.get_offsets()[0])  # after drawing those of the screen
    shown = np.asarray(figure.canvas.buffer_rgba())
    row, column = len(shown) - 1 - round(y), round(x)
    around = shown[row - 6 : row + 7, column - 6 : column + 7, :3].reshape(-1, 3)
    expected = np.round(255 * mixture.means[0])
    assert (np.abs(around - expected).max(axis=1) <= 1).all()


def test_pixels_that_are_no_colours_are_refused() -> None:
    image = RNG.integers(2, 256, (6, 7, 3)).astype(np.uint8)
    integers = (image.astype(int), image.astype(np.uint32), image > 9)
    for wrong in (*integers, image * 1j, image.astype(float), image - 5.0):
        with pytest.raises(ValueError, match=r"pixels: expected .*floats in \[0, 1\], got"):
            plot.colours(wrong)
    with pytest.raises(ValueError, match="pixels: expected floats"):
        plot.colours([[0.5, np.nan, 0.5]])
    ax = plot.colours((image.astype(np.uint16) * 257).astype(">u2"))
    np.testing.assert_allclose(
        np.transpose(ax.collections[0]._offsets3d), image.reshape(-1, 3) / 255
    )
    ax = plot.colours(np.array([[1.0000001, 0.5, -1e-7]]))
    np.testing.assert_allclose(np.transpose(ax.collections[0]._offsets3d), [[1, 0.5, 0]])


def test_batches_are_refused_and_each_of_them_is_drawn() -> None:
    alone = [jgmm.fit(part, 2, search="none") for part in (DATA[:150], DATA[150:])]
    fits = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)  # as a vmap returns them
    for call in (
        lambda: plot.components(fits, DATA),
        lambda: plot.density(fits.mixture),
        lambda: plot.classification(fits, DATA),
        lambda: plot.colours(np.zeros((2, 3)), fits),
        lambda: plot.palette(fits),
    ):
        with pytest.raises(ValueError, match=r"expected one mixture, got a batch of shape \(2,\)"):
            call()
    with pytest.raises(ValueError, match=r"expected a history"):
        plot.learning_curve(fits)
    one = jax.tree.map(lambda leaf: leaf[1], fits)
    ax = plot.components(one)
    np.testing.assert_allclose(ax.lines[0].get_xydata()[0], fits.mixture.means[1, 0, :2])


def test_palette_and_certainty() -> None:
    ax = plot.palette(MIXTURE)
    assert [bar.get_width() for bar in ax.patches] == [0.75, 0.25]
    assert [text.get_text() for text in ax.texts] == ["#33801a", "#e64c99"]
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 4:] = 200, 100, 0
    found = jgmm.segment(image, 2)
    assert [text.get_text() for text in plot.palette(found).texts] == ["#000000", "#c86400"]
    np.testing.assert_array_equal(plot.certainty(found).images[0].get_array(), found.certainty)


def test_all_draw_into_given_axes_and_can_be_saved(tmp_path: Path) -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert plot.components(MIXTURE, ax=ax) is ax
    assert plot.classification(MIXTURE, DATA, ax=ax) is ax
    assert plot.density(MIXTURE, ax=ax, n_points=5) is ax
    assert plot.palette(MIXTURE, ax=ax) is ax
    assert plot.certainty(np.ones((2, 2)), ax=ax) is ax
    plot.save(figure, tmp_path / "a.png")


def test_what_is_wrong_is_said() -> None:
    for call in (
        lambda: plot.components(MIXTURE, features=(0, 3)),
        lambda: plot.components(MIXTURE, features=(1, 1)),
        lambda: plot.components(MIXTURE, DATA[:, :2]),
        lambda: plot.colours(DATA, space="hsv"),
        lambda: plot.colours(DATA[:, :2]),
        lambda: plot.palette(jgmm.marginal(MIXTURE, (0, 1))),
        lambda: plot.certainty(np.ones(3)),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
