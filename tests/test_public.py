"""What is there after `import jgmm`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import jgmm

LATE = ("plot", "sklearn", "interop", "image")


def test_submodules_load_when_first_used() -> None:
    code = (
        "import sys, jgmm\n"
        f"assert not [n for n in {LATE!r} if n != 'image' and 'jgmm.' + n in sys.modules]\n"
        "jgmm.plot.learning_curve, jgmm.interop.to_numpyro, jgmm.image.RECOMMENDED\n"
        "jgmm.sklearn.GaussianMixture\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_only_public_names_are_listed() -> None:
    names = dir(jgmm)
    assert set(names) == {*jgmm.__all__, *LATE}
    assert all(hasattr(jgmm, name) for name in names)
    assert sorted(jgmm.__all__) == sorted(set(jgmm.__all__))
    assert not hasattr(jgmm, "nothing_of_the_kind")


def test_recommended_options_are_everybodys() -> None:
    """They merge with others, and cannot be changed for the whole process."""
    merged = jgmm.image.RECOMMENDED | {"merge": 3.0}
    assert merged["merge"] == 3.0
    assert jgmm.image.RECOMMENDED["merge"] == 3.2
    with pytest.raises(TypeError):
        jgmm.image.RECOMMENDED["merge"] = 3.0  # type: ignore[index]
