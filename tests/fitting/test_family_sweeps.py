from __future__ import annotations

import numpy as np
import pytest
from examples import K, overlapping

import jgmm
from jgmm import plot

X = overlapping()


def test_families_are_sweeps_and_the_best_is_the_least_of_all() -> None:
    result = jgmm.sweep_families(X, [1, K], ["full", "diag"])
    for family in ("full", "diag"):
        alone = jgmm.sweep(X, [1, K], covariance_type=family)
        np.testing.assert_allclose(result[family].bic, alone.bic, rtol=1e-9)
    least = min(float(np.min(result[family].bic)) for family in ("full", "diag"))
    np.testing.assert_allclose(jgmm.bic(result.best().mixture, X), least, rtol=1e-9)
    curves = {name: result[name].bic for name in ("full", "diag")}
    ax = plot.criteria(result["full"].n_components, curves, title="BIC")
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text().startswith("full, least at k =")


def test_what_is_no_family_or_curve_is_told() -> None:
    with pytest.raises(ValueError, match="covariance_types: expected one of full"):
        jgmm.sweep_families(X, [1], ["round"])
    with pytest.raises(ValueError, match="different families"):
        jgmm.sweep_families(X, [1], ["full", "full"])
    with pytest.raises(ValueError, match="criterion"):
        jgmm.sweep_families(X, [1], ["full"]).best("mdl")
    for curves in ({}, {"BIC": [1.0]}, {"BIC": [np.nan, np.inf]}):
        with pytest.raises(ValueError, match="expected"):
            plot.criteria([1, 2], curves)
