"""What goes wrong on the command line is said in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import SHAPE, holes, picture, write

import jgmm
from jgmm.cli import app as cli

pytestmark = pytest.mark.usefixtures("plain_process")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    streams = capsys.readouterr()
    assert streams.err.startswith("jgmm: ")
    assert streams.err.count("\n") == 1
    assert streams.err.endswith("\n")
    return streams.err


BAD_OPTIONS = [
    ("-k 0", "from 1 to 1000"),
    ("-k 1001", "from 1 to 1000"),
    ("-k -1", "whole numbers"),
    ("-k 2-", "a range such as 2-12"),
    ("-k 2-3-4", "whole numbers"),
    ("-k 5-3", "from low to high, got '5-3'"),
    ("-k 2-1001", "from 1 to 1000"),
    ("--xy-weight 0", "above 0"),
    ("--recommended --noise-model potts", "expected one of --recommended and"),
    ("--labels x.png --noise-model potts", "expected one of --labels and"),
    ("--bayes --noise-model potts", "expected one of --bayes and"),
    ("--bayes --covariance VEV", "expected one of full, tied, diag, spherical, EII, EEI with"),
    ("x.png --labels x.png", "expected one image for --labels, got 2"),
    ("-k 3,x", "whole numbers"),
    ("-k 3,", "whole numbers"),
    ("-k", "requires an argument"),
    ("--covariance round", "full, tied, diag, spherical"),
    ("--covariance factor", "factor with a rank, as factor(3) or by --rank 3"),
    ("--rank 2", "expected None but for factor and ppca"),
    ("--distribution cauchy", "gaussian, student_t"),
    ("--degrees-of-freedom 3", "expected --distribution student_t with --degrees-of-freedom"),
    ("--distribution student_t --degrees-of-freedom 0", "free, shared or a number from 0.001"),
    ("--features xyz", "rgb, rgb+xy, lab, lab+xy, gray"),
    ("--dtype half", "float32, float64"),
    ("--restarts 0", "from 1 to"),
    ("--seed -1", "from 0 to"),
    ("--seed x", "expected a whole number from 0 to 4294967295, got 'x'"),
    ("--max-iter -1", "from 0 to"),
    ("--max-iter 1e9", "expected a whole number from 0 to 1000000, got '1e9'"),
    ("--seed " + "9" * 5000, "99...99"),
    ("--tol x", "expected a finite number of at least 0 and at most 1e+37, got 'x'"),
    ("--tol nan", "finite"),
    ("--tol -1", "at least 0"),
    ("--tol 1e39", "at most 1e+37"),
    ("--tol inf", "finite"),
    ("--merge 1e39", "at most 1e+37"),
    ("--xy-weight 1e39", "at most 1e+37"),
    ("--xy-weight 1e-46", "above 0"),
    ("--beta 1e39", "at most 10000"),
    ("--beta -1", "at least 0"),
    ("--beta nan", "at least 0"),
    ("-k 00000000512345", "from 1 to 1000"),
    ("-k 1-" + "9" * 5000, "from 1 to 1000"),
    ("--nonsense", "--nonsense"),
]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["segment", ""], ["segment", "x.png", "-o", ""], ["segment", "x.png", "--mask="]),
        *(["segment", "x.png", "--labels", ""], ["apply", "", "x.png"], ["apply", "x", ""]),
    ],
)
def test_the_empty_name_is_not_the_folder_one_is_in(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    assert cli.main(arguments) == 2
    assert "expected the name of a file or folder, got an empty one" in one_line(capsys)
    assert [path.name for path in folder.iterdir()] == ["x.png"]


@pytest.mark.parametrize(("options", "part"), BAD_OPTIONS)
def test_bad_options(
    options: str, part: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    assert cli.main(["segment", "x.png", *options.split()]) == 2
    assert part in one_line(capsys)
    assert not Path("jgmm-out").exists()


def make_bad(name: str) -> list[str]:
    """Arguments that go wrong, for each bad input."""
    Path("text.png").write_text("hello")
    Path("empty.png").touch()
    Path("hollow").mkdir()
    write("x.png", picture())
    Path("cut.png").write_bytes(Path("x.png").read_bytes()[:200])
    write("clear.png", holes() * np.array([1, 1, 1, 0], np.uint8))
    tifffile.imwrite("bands.tif", picture(6), photometric="minisblack", planarconfig="contig")
    big = np.float32(1e38) * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    tifffile.imwrite("big.tif", big)
    return {
        "no such file": ["segment", "missing.png"],
        "not an image": ["segment", "text.png"],
        "an empty file": ["segment", "empty.png"],
        "cannot read": ["segment", "cut.png"],
        "no image in the folder": ["segment", "hollow"],
        "take part": ["segment", "clear.png"],
        "1 or 3 channels": ["segment", "bands.tif", "--features", "lab"],
        "float32 can hold": ["segment", "big.tif", "-k", "2,3", "-q"],
        "a file stands": ["segment", "x.png", "-o", "text.png"],
        "cannot write": ["segment", "x.png", "-o", "/proc/nowhere"],
        "damaged": ["apply", "text.png", "x.png"],
        "cannot read missing": ["apply", "missing", "x.png"],
        "Missing argument": ["apply"],
        "No such command": ["sgement"],
    }[name]


@pytest.mark.parametrize(
    "message",
    [
        *("no such file", "not an image", "an empty file", "cannot read"),
        "no image in the folder",
        *("take part", "1 or 3 channels", "float32 can hold", "a file stands"),
        *("cannot write", "damaged", "cannot read missing", "Missing argument", "No such command"),
    ],
)
def test_bad_input(message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if message == "cannot write" and not Path("/proc").is_dir():
        pytest.skip("no folder here that even root cannot write to")
    assert cli.main(make_bad(message)) == 2
    assert message in one_line(capsys)


def test_a_model_must_suit_the_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    write("grey.png", picture(1)[..., 0])
    assert cli.main(["segment", "x.png", "-k", "2,3", "-q"]) == 0
    model = "jgmm-out/x/model_k3.safetensors"
    assert cli.main(["apply", model, "grey.png"]) == 2
    assert "expects an image of 3 channels, got 1: grey.png" in one_line(capsys)
    jgmm.save("bare.safetensors", jgmm.load(model))
    assert cli.main(["apply", "bare.safetensors", "x.png"]) == 2
    assert "a mixture alone, which does not say what features" in one_line(capsys)
    jgmm.save("later.safetensors", jgmm.load(model), {"features": "taste", "channels": 3})
    assert cli.main(["apply", "later.safetensors", "x.png"]) == 2
    assert "'taste'" in one_line(capsys)
    assert not Path("jgmm-applied").exists()


def test_one_bad_image_stops_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    assert cli.main(["segment", "missing.png", "x.png", "-k", "2,3"]) == 2
    assert "missing.png" in one_line(capsys)
    assert Path("jgmm-out/x/summary.json").is_file()


def test_what_nobody_foresaw_is_one_line_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("x.png", picture())
    errors = iter([MemoryError(), RuntimeError("two\nlines"), OSError(28, "No space left")])

    def fail(*arguments: Any, **options: Any) -> None:
        raise next(errors)

    monkeypatch.setattr("jgmm.cli.fits.sweep", fail)
    for code, part in ((2, "not enough memory"), (1, "RuntimeError: two lines"), (2, "No space")):
        assert cli.main(["segment", "x.png", "-q"]) == code
        assert part in one_line(capsys)
    assert list(Path("jgmm-out/x").iterdir()) == []


LONG = "a" * 300 + ".png"


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", LONG),
        ("segment", "x.png", "--labels", LONG),
        ("segment", "x.png", "-o", LONG),
        ("apply", LONG, "x.png"),
        ("apply", "model", LONG),
    ],
)
def test_names_that_are_too_long(
    arguments: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    mixture = jgmm.Mixture(
        weights=np.ones(1, np.float32),  # type: ignore[arg-type]
        means=np.zeros((1, 3), np.float32),  # type: ignore[arg-type]
        covariances=np.ones((1, 3), np.float32),  # type: ignore[arg-type]
    )
    jgmm.save("model", mixture, {"features": "rgb", "channels": 3})
    assert cli.main([*arguments]) == 2
    assert "File name too long" in one_line(capsys)


def test_pipes_and_devices_are_not_waited_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("pipe")
    assert cli.main(["segment", "pipe"]) == 2
    assert "is a pipe or a device, not a file: pipe" in one_line(capsys)
