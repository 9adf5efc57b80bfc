from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import jgmm
from jgmm import plot
from jgmm._atomic import printable
from jgmm.plot._canvas import PALETTE, figure_of
from jgmm.plot._curves import _spread

NAN = float("nan")
X = np.random.default_rng(3).normal(np.repeat([[0.0], [4.0]], 40, axis=0), 1.0, (80, 2))


def texts(figure: Figure | Axes) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def rendered(figure: Figure | Axes, folder: Path) -> np.ndarray:
    plot.save(figure, folder / "figure.png")
    with Image.open(folder / "figure.png") as image:
        return np.asarray(image.convert("RGB"))


def test_learning_curve_ends_where_the_fit_ended(tmp_path: Path) -> None:
    ax = plot.learning_curve([2.0, 2.5, 2.75, NAN, NAN], title="k = 3")
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2.0, 2.5, 2.75])
    assert ax.get_xlabel() == "iteration"
    assert ax.get_ylabel() == "mean log-likelihood (nats per pixel)"
    for part in ("k = 3", "2.750", "start, 2.000"):
        assert part in texts(ax)
    assert rendered(ax, tmp_path).std() > 1
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


@pytest.mark.parametrize("history", [[2.9], [2.9, NAN], [2.9, 2.9], [0.0], [-1e5, -1e4]])
def test_short_and_flat_curves(history: list[float], tmp_path: Path) -> None:
    rendered(plot.learning_curve(history), tmp_path)


def test_a_far_start_does_not_squash_the_rest() -> None:
    ax = plot.learning_curve([-50.0, 3.0, 3.1, 3.15])
    low, high = ax.get_ylim()
    assert 2.9 < low < 3.0 < 3.15 < high < 3.3
    assert "start, -50.000 (below the scale)" in texts(ax)
    low, _ = plot.learning_curve([2.9, 3.0, 3.1, 3.15]).get_ylim()
    assert low < 2.9


def test_curves_are_drawn_into_given_axes() -> None:
    figure = Figure()
    size = figure.get_size_inches().tolist()
    one, several, least = figure.subplots(3)
    assert plot.learning_curve([1.0, 2.0], ax=one, label="k = 4") is one
    assert "k = 4   2.000" in texts(one)
    assert plot.learning_curves({3: [1.0, 1.5], 5: [1.0, 2.5]}, ax=several) is several
    assert [text.get_text() for text in several.texts] == ["k = 3   1.500", "k = 5   2.500"]
    curves = {f"family {i}": [2.0, 1.0 + i] for i in range(9)}
    assert plot.criteria([1, 2], curves, ax=least) is least
    drawn = [line.get_ydata() for line in least.lines[::2]]
    np.testing.assert_array_equal(drawn, list(curves.values()))
    assert figure.get_size_inches().tolist() == size
    assert len(figure.axes) == 3


def is_drawn(ax: Axes, curves: list[np.ndarray]) -> None:
    """Each curve is there, from its start or, where that is cut off, from the step after it."""
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    for line, curve in zip(lines, curves, strict=True):
        steps = np.asarray(line.get_xdata())
        assert steps.tolist() in (list(range(len(curve))), list(range(1, len(curve))))
        np.testing.assert_array_equal(line.get_ydata(), curve[steps])


def test_fits_and_sweeps_are_drawn_as_their_histories_and_criteria() -> None:
    fit = jgmm.fit(X, 2, search="none")
    ax = plot.learning_curve(fit)
    is_drawn(ax, [fit.learning_curve])
    assert f"start, {fit.learning_curve[0]:.3f}" in texts(ax)
    assert ax.get_ylabel() == "mean log-likelihood (nats per pixel)"
    ax = plot.learning_curves({2: fit})
    is_drawn(ax, [fit.learning_curve])
    sweep = jgmm.sweep(X, [3, 1, 2], n_restarts=2, search="none")
    ax = plot.learning_curves(sweep)
    is_drawn(ax, [sweep[k].learning_curve for k in (3, 1, 2)])
    ends = {f"k = {k}   {sweep[k].learning_curve[-1]:.3f}" for k in (1, 2, 3)}
    assert {text.get_text() for text in ax.texts} == ends
    ax = plot.criteria(sweep)
    for values, line in zip((sweep.bic, sweep.icl), ax.lines[::2], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(line.get_ydata(), np.min(np.asarray(values), axis=1)[[1, 2, 0]])
    assert "BIC, least at k =" in texts(ax)
    assert "ICL, least at k =" in texts(ax)
    some = ["full", "EII"]
    families = jgmm.sweep_families(X, [3, 2], some, n_restarts=2, search="none")
    for ax, name in (
        (plot.criteria(families), "bic"),
        (plot.criteria(families, families.curves("icl")), "icl"),
    ):
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert [n.split(",")[0] for n in names] == some
        for line, family in zip(ax.lines[::2], some, strict=True):
            values = np.asarray(getattr(families[family], name)).min(axis=1)
            np.testing.assert_allclose(line.get_ydata(), values[::-1])
            np.testing.assert_array_equal(line.get_xdata(), [2, 3])
        assert ax.get_ylabel().startswith("BIC" if name == "bic" else "criterion")
    ax = plot.criteria(sweep, {"AIC": sweep.aic})
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), np.min(np.asarray(sweep.aic), axis=1)[[1, 2, 0]]
    )


def test_curves_of_fits_with_a_prior_are_of_the_objective() -> None:
    fit = jgmm.fit(X, 2, prior="weak", search="none")
    for ax in (plot.learning_curve(fit), plot.learning_curves({2: fit})):
        assert ax.get_ylabel() == "objective (nats per pixel)"
        is_drawn(ax, [fit.learning_curve])


def test_learning_curves_names_every_k(tmp_path: Path) -> None:
    figure = plot.learning_curves({k: [k, k + 0.5, k + 0.6] for k in range(2, 14)}, title="all")
    assert all(f"k = {k}   {k + 0.6:.3f}" in texts(figure) for k in range(2, 14))
    rendered(figure, tmp_path)
    rendered(plot.learning_curves({3: [1.0], 5: [1.0]}), tmp_path)


def test_names_of_equal_curves_do_not_overlap() -> None:
    places = np.array([0.2, 0.5, 0.5, 0.5, 0.9])
    spread = _spread(places, 0.05)
    np.testing.assert_allclose(spread, [0.2, 0.45, 0.5, 0.55, 0.9])


@pytest.mark.parametrize("shape", [(40, 60, 3), (60, 20, 3), (4, 300, 3), (1, 1, 3), (30, 30)])
@pytest.mark.parametrize("count", [1, 4, 8])
def test_comparison_fits_every_panel(shape: tuple[int, ...], count: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    ks = range(2, 2 + count)
    figure = plot.comparison(image, dict.fromkeys(ks, image), {k: k + 0.25 for k in ks})
    assert len(figure.axes) == 1 + count
    wide, tall = figure.get_size_inches()
    for ax in figure.axes:
        box = ax.get_position()
        assert box.x0 > 0
        assert box.y0 > 0
        assert box.x1 < 1
        assert box.y1 < 1
        ratio = (box.width * wide) / (box.height * tall)
        assert ratio == pytest.approx(np.clip(shape[1] / shape[0], 1 / 8, 8))
    assert "original" in texts(figure)
    assert "k = 2" in texts(figure)
    assert "log-likelihood 2.250" in texts(figure)


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_comparison_shows_any_image(channels: int, dtype: type, tmp_path: Path) -> None:
    shape = (8, 9, channels) if channels else (8, 9)
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    rendered(plot.comparison(image, {3: image}, {3: 1.0}), tmp_path)


def test_comparison_shows_the_colours_themselves(tmp_path: Path) -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 200
    shown = rendered(plot.comparison(red, {}, {}), tmp_path)
    assert shown[shown.shape[0] // 2, shown.shape[1] // 2].tolist() == [200, 0, 0]


def test_save_takes_axes_for_their_figure(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    ax, _ = figure.subplots(1, 2)
    plot.save(figure, tmp_path / "a.png")
    plot.save(ax, tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    ax.remove()
    with pytest.raises(ValueError, match="belong to a figure"):
        plot.save(ax, tmp_path / "c.png")


def test_save_knows_formats_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figure = plot.learning_curve([1.0, 2.0])
    for name in ("a.png", "a.svg", "a.pdf", "plain"):
        plot.save(figure, tmp_path / name)
    assert (tmp_path / "plain").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="xyz"):
        plot.save(figure, tmp_path / "a.xyz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "a.pdf", "plain"}


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match=r"got shape \(2, 2\)"):
        plot.learning_curve([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="finite value"):
        plot.learning_curve([NAN, 1.0])
    with pytest.raises(ValueError, match="at least one"):
        plot.learning_curves({})
    with pytest.raises(ValueError, match="or the result of a sweep, got none"):
        plot.criteria([1, 2])
    with pytest.raises(ValueError, match=r"none for \[3\]"):
        plot.comparison(np.zeros((2, 2)), {3: np.zeros((2, 2))}, {})
    with pytest.raises(ValueError, match=r"got shape \(2,\)"):
        plot.comparison(np.zeros(2), {}, {})


def test_imports_are_light() -> None:
    code = """
import sys
import jgmm.image
heavy = {"imageio", "PIL", "skimage", "tifffile", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
import jgmm.plot
assert "matplotlib.pyplot" not in sys.modules
"""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_curves_of_an_objective_say_so() -> None:
    ax = plot.learning_curve([1.0, 2.0], quantity="objective")
    assert ax.get_ylabel() == "objective (nats per pixel)"
    ax = plot.learning_curves({3: [1.0, 2.0]})
    assert ax.get_ylabel() == "mean log-likelihood (nats per pixel)"


HOSTILE = [
    *("$$", r"$\frac$.png", "_^_$x_$", "%", r"\alpha", "<b>&amp;</b>", "_hidden", "[red]x"),
    *("\udcff\udcfe.png", "a\nb\0\x1b[31m", " ", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.x", "=1+1"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_markup(name: str) -> None:
    charts = (
        plot.learning_curve([1.0, 2.0], title=name, label=name),
        plot.criteria([1, 2], {name: [1.0, 2.0]}, title=name),
    )
    for ax in charts:
        figure_of(ax).canvas.draw()
        shown = texts(ax)
        assert shown.count(printable(name)) >= 2
        assert "\n" not in shown


def test_titles_too_long_for_a_figure_are_cut(tmp_path: Path) -> None:
    figure = plot.learning_curve([1.0, 2.0], title="a" * 400 + "z")
    assert "aaa … aaa" in texts(figure)
    assert "z |" in texts(figure)
    assert rendered(figure, tmp_path).std() > 1


@pytest.mark.parametrize("count", [1, 6, 7, 14, 28, 45])
def test_many_criteria_can_be_told_apart(count: int) -> None:
    ks = np.arange(1, 6)
    curves = {f"family {i}": 1000.0 - 10 * i + (ks - 3.0) ** 2 for i in range(count)}
    ax = plot.criteria(ks, curves)
    figure = figure_of(ax)
    figure.canvas.draw()
    lines = [line for line in ax.lines if len(line.get_xdata()) == len(ks)]  # type: ignore[arg-type]
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines]
    assert len(lines) == count
    assert len(set(looks)) == min(count, 28)
    assert len({look[0] for look in looks}) == min(count, len(PALETTE))
    legend = ax.get_legend()
    assert legend is not None
    keys = [(k.get_color(), k.get_linestyle(), k.get_marker()) for k in legend.get_lines()]
    assert keys == looks
    names, axes = legend.get_window_extent(), ax.get_window_extent()
    width, height = figure.canvas.get_width_height()
    assert (names.x0 >= axes.x1) == (count > 6)
    assert 0 <= names.x0 < names.x1 <= width
    assert 0 <= names.y0 < names.y1 <= height
    assert axes.width > 500  # pixels, of the curves


@pytest.mark.parametrize("shape", [(3000, 1), (1, 3000), (1, 1)])
@pytest.mark.parametrize("count", [1, 11, 999])
def test_no_image_makes_a_figure_that_takes_all_memory(
    shape: tuple[int, int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its size alone; to make a thousand panels takes seconds."""
    if count == 999:
        panel = MagicMock()
        monkeypatch.setattr(Figure, "add_axes", lambda self, box, **options: panel)
    image = np.zeros((*shape, 3), np.uint8)
    figure = plot.comparison(
        image, dict.fromkeys(range(count), image), dict.fromkeys(range(count), 0.0)
    )
    assert np.prod(figure.get_size_inches() * 144) < 80e6  # pixels


def test_a_thousand_curves_have_their_names_at_once() -> None:
    ends = _spread(np.sort(np.random.default_rng(0).random(1000)), 0.01)
    assert np.diff(ends).min() > 0.01 - 1e-9
