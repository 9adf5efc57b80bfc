"""How many components: the knee and the criteria."""

from __future__ import annotations

import numpy as np
import pytest

import jgmm
from jgmm.fitting.choice import choose, knee


def test_the_knee_is_where_gains_end() -> None:
    ks = [2, 3, 4, 5, 6, 8]
    values = [-5.0, -4.0, -3.0, -2.95, -2.9, -2.85]
    assert knee(ks, values) == 4
    assert knee(ks[::-1], values[::-1]) == 4
    # in other units, and from another origin
    assert knee(ks, [1e3 + 7 * v for v in values]) == 4


def test_the_knee_where_there_is_none() -> None:
    assert knee([4], [-1.0]) == 4
    assert knee([3, 5], [-2.0, -1.0]) == 5
    assert knee([3, 5, 7], [-2.0, -2.0, -2.0]) == 3
    assert knee([2, 3, 4], [np.nan, -2.0, -1.0]) == 4
    with pytest.raises(ValueError, match="finite"):
        knee([2, 3], [np.nan, np.nan])
    with pytest.raises(ValueError, match="shape|got"):
        knee([2, 3], [1.0])


def test_choices_of_a_sweep() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(center, 1, (200, 1)) for center in (0, 20, 40)])
    swept = jgmm.sweep(x, [1, 2, 3, 4, 6])
    assert {rule: choose(swept, rule) for rule in ("knee", "bic", "icl")} == {
        "knee": 3,
        "bic": 3,
        "icl": 3,
    }
    with pytest.raises(ValueError, match="by"):
        choose(swept, "most")
