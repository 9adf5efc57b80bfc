"""What cannot fit is refused before it starts, with what it would take."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pictures import picture, write

from jgmm.cli import app as cli
from jgmm.cli import memory
from jgmm.cli.estimates import memory_of_fit, samples_at_most, seconds_of_fits
from jgmm.cli.options import JobError, Options
from jgmm.image import Image
from jgmm.image.hierarchy import Cues, connected_parts, tree_of

pytestmark = pytest.mark.usefixtures("plain_process")


def test_what_cannot_fit_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert cli.main(["segment", "x.png"]) == 2
    said = capsys.readouterr().err
    assert "16 x 12 pixels would take about 0 MiB of memory, and 0 MiB are free" in said
    assert said.count("\n") == 1
    assert "try --tiled or a smaller image: x.png" in said
    assert not Path("jgmm-out").exists()
    for more in ("--tiled", "--smooth"):
        assert cli.main(["segment", "x.png", more]) == 2
        assert "free; try a smaller image: x.png" in capsys.readouterr().err
    # A band is a part of the image, but the fit is to all colours.
    image = np.arange(1024 * 8 * 3, dtype=np.uint16).reshape(1024, 8, 3)
    tifffile.imwrite("x.tif", image, photometric="rgb", rowsperstrip=64)
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    assert cli.main(["segment", "x.tif", "--tiled"]) == 2
    said = capsys.readouterr()
    assert "about 0 MiB to 1 MiB of memory" in said.out
    assert "a fit to 8,192 samples would take about 1 MiB" in said.err


def test_estimates_grow_with_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Image(np.zeros((10, 10, 3), np.uint8), None, Path("x.png"))
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    memory.expect_room([page], Options(ks=()))
    for pages, options in (
        ([page, page], Options()),
        ([page], Options(smooth=True)),
        ([page], Options(noise_model="potts")),
        ([page], Options(features="rgb+xy", dtype="float64")),
        ([page], Options(ks=tuple(range(2, 40)))),
    ):
        with pytest.raises(JobError, match=r"x\.png"):
            memory.expect_room(pages, options)


def test_a_fit_is_expected_to_take_longer_the_more_there_is_to_fit() -> None:
    ready = seconds_of_fits(0, 3, Options())
    assert ready == (0, seconds_of_fits(0, 1, Options())[1])  # compiled by another process or not
    few, many = seconds_of_fits(1 << 20, 3, Options(ks=(4,)))
    assert few * 10 == pytest.approx(many - ready[1])
    for more, n in (
        (Options(ks=(4, 8)), 3),
        (Options(ks=(4,), search="none", restarts=3), 3),
        (Options(ks=(4,), bayes=True, restarts=3), 3),
    ):
        assert seconds_of_fits(1 << 20, 3, more)[0] == pytest.approx(n * few)
    assert seconds_of_fits(1 << 20, 3, Options(ks=(4,), restarts=3)) == (few, many)
    short = seconds_of_fits(1 << 20, 3, Options(ks=(4,), max_iter=5))
    assert short == pytest.approx((few / 2, few / 2 + ready[1]))
    assert seconds_of_fits(1 << 20, 8, Options(ks=(4,)))[0] == pytest.approx(few * 73 / 13)
    assert seconds_of_fits(1 << 20, 3, Options(ks=(4,), features="gray"))[0] < few
    by_features = [memory_of_fit(1 << 20, 3, Options(features=name)) for name in ("gray", "lab")]
    assert by_features[0] < by_features[1]
    byte, word = np.dtype(np.uint8), np.dtype(np.uint16)
    assert samples_at_most(byte, 1, 10**9) == 256
    assert samples_at_most(byte, 3, 10**9) == samples_at_most(word, 1, 10**9) == 1 << 24
    assert samples_at_most(byte, 4, 1000) == 1000


def test_merging_counts_its_table_of_cues(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def merged(k: int, min_region: int = 0, n_pixels: int = 10**6) -> int:
        more = {"merged_components": k, "min_region": min_region}
        return memory.needed(n_pixels, 3, few_colours=True, spatial=True, **more)

    few = memory.needed(10**6, 3, few_colours=True, spatial=True)
    assert few == merged(3) < merged(60) < merged(100)
    assert merged(60, 1000) < merged(60, 20) < merged(60)
    # By the command line, and of models that merge.
    write("x.png", picture())
    run = ["segment", "x.png", "-k", "60", "-q", "--search", "none", "--max-iter", "2"]
    assert cli.main([*run, "--merge", "1"]) == 0
    shape = picture().shape
    plain = memory.needed(shape[0] * shape[1], 3, few_colours=True, spatial=True, n_pictures=1)
    monkeypatch.setattr(memory, "available", lambda: plain)
    assert cli.main([*run, "--merge", "1"]) == 2
    assert cli.main(["apply", "jgmm-out/x/model_k60.safetensors", "x.png", "-q"]) == 2
    assert capsys.readouterr().err.count("free; try a smaller image: x.png") == 2
    assert cli.main([*run, "--smooth"]) == 0
    model = "jgmm-out/x/model_k60.safetensors"
    assert cli.main(["apply", model, "x.png", "-q"]) == 0


@pytest.mark.parametrize("k", [5, 60])
def test_a_table_of_cues_takes_what_is_counted(k: int) -> None:
    """Of each region and column so many bytes, and no more in all than merging does take."""
    rng = np.random.default_rng(0)
    parts = connected_parts(rng.integers(0, k, (60, 80)))
    colours = rng.normal(0, 9, (60, 80, 4))
    n, columns = int(parts.max()) + 1, 36 + k

    def cues(of: np.ndarray) -> list[np.ndarray]:
        return [rng.dirichlet(np.ones(columns), n) * np.bincount(of.ravel())[:, None]]

    def peak(asked: Cues | None) -> int:
        tracemalloc.start()
        tree_of(parts, colours, cues=asked)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    plain = peak(None)
    table = (peak(cues) - plain) / n
    assert 0.6 * memory._CUE * columns < table < 1.6 * memory._CUE * columns
    assert 0.5 * memory._PART < plain / n < 2 * memory._PART


def test_what_is_free_is_known_or_without_limit() -> None:
    assert memory.available() > 2**20
