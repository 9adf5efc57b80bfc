"""Options of any value, together with others."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from budget import cases
from hypothesis import strategies as st
from oracles import run
from pictures import picture, write

from jgmm.cli.options import Options, numbers_for, samples_for

pytestmark = pytest.mark.usefixtures("plain_process")

LISTED = [
    *("", "0", "-1", "1", "3", "nan", "inf", "-inf", "1e39", "1e-46", "1e400", "0x1"),
    *("auto", "2-5", "5-2", "1-", "-", ",", "1,,2", "3,3", "1000", "1001", "²", "٣"),
    *("9" * 5000, "0" * 40 + "3", "1_0", " 3 ", "+3", "3.0", "1e1", "true", "--", "-k"),
    *("rgb", "lab", "full", "potts", "none", "float64", "bic", "x.png", ".", "/", "~"),
]
VALUES = st.one_of(
    st.sampled_from(LISTED),
    st.sampled_from(LISTED),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
)
WITH_VALUES = [
    *("-k", "-o", "--covariance", "--restarts", "--features", "--xy-weight", "--labels", "--seed"),
    *("--max-iter", "--tol", "--dtype", "--noise-model", "--beta", "--min-region", "--merge"),
    *("--choose", "--mask", "--page"),
]
FLAGS = [
    "--smooth",
    "--recommended",
    "--quiet",
    "-q",
    "--stack",
    "--nonsense",
    "--help",
    "--version",
]
OPTION = st.one_of(
    st.tuples(st.sampled_from(WITH_VALUES), VALUES),
    st.tuples(st.sampled_from(WITH_VALUES), VALUES),
    st.tuples(st.sampled_from(WITH_VALUES), VALUES).map(lambda pair: ("=".join(pair),)),
    st.tuples(st.sampled_from(FLAGS)),
    st.tuples(st.sampled_from(WITH_VALUES)),
)


def looked_at(pages: Any, folder: Path, options: Options, *rest: Any) -> dict[str, Any]:
    """In the place of the work: the options can be worked with."""
    assert all(1 <= k <= 1000 for k in options.ks)
    for value in (options.tol, options.merge, options.xy_weight):
        assert math.isfinite(value)
        assert 0 <= value < 3e38
    assert 1 <= options.restarts <= 1000
    assert 0 <= options.seed < 2**32
    assert options.spatial.rule in ("bic", "knee")
    numbers_for(
        samples_for(pages[0], options.features, options.covariance, xy_weight=options.xy_weight),
        options,
    )
    return {"fits": [], "chosen_k": None, "chosen_from": []}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    write(os.fspath(folder / "x.png"), picture())
    return folder


@hypothesis.given(st.lists(OPTION, max_size=5))
@cases("options")
def test_options_of_any_value(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[tuple[str, ...]],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("jgmm.cli.running.segment_job", looked_at)
    arguments = [part for option in options for part in option]
    run(["segment", "x.png", *arguments], capsys, images=1 + len(arguments))
    assert [path.name for path in place.iterdir()] == ["x.png"]
