"""What a mixture says of samples of which features are missing."""

from __future__ import annotations

import numpy as np
import pytest
from examples import FAMILIES, K, W, X, start

import jgmm
from jgmm.data.programs import program


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_features_are_integrated_out(family: str) -> None:
    """As `fit` has it: what is said of a pixel is what the marginal mixture says of the rest.

    All that is said is of the same densities, of whatever family.
    """
    mixture = start(family, X)
    gaps = X.copy()
    gaps[:100, 1] = np.nan
    gaps[100:103] = np.nan
    rest = jgmm.marginal(mixture, [0, 2])
    others = (jgmm.responsibilities, jgmm.predict, jgmm.certainty) if family == "full" else ()
    for function in (jgmm.log_prob, *others):
        found = function(mixture, gaps, missing="nan")
        np.testing.assert_allclose(found[:100], function(rest, X[:100, [0, 2]]), rtol=1e-9)
        np.testing.assert_allclose(found[103:], function(mixture, X)[103:], rtol=1e-9)
        with pytest.raises(ValueError, match="expected finite values"):
            function(mixture, gaps)
        with pytest.raises(ValueError, match="missing: expected one of error, nan; got 'drop'"):
            function(mixture, gaps, missing="drop")
    densities = jgmm.log_prob(mixture, gaps, missing="nan")
    np.testing.assert_allclose(densities[100:103], 0, atol=1e-9)  # nothing is known of them
    np.testing.assert_allclose(
        jgmm.score(mixture, gaps, W, missing="nan"), np.average(densities, weights=W), rtol=1e-9
    )


def test_a_fit_with_gaps_is_scored_as_it_was_fitted() -> None:
    gaps = np.where(np.random.default_rng(4).random(X.shape) < 0.25, np.nan, X)
    result = jgmm.fit(gaps, K, covariance_type="diag", missing="nan")
    score = jgmm.score(result, gaps, missing="nan")
    np.testing.assert_allclose(score, result.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(jgmm.bic(result, gaps, missing="nan"), result.bic, rtol=1e-9)
    jitted = program(once=True)(lambda x: jgmm.predict(result, x, missing="nan"))(gaps)
    np.testing.assert_array_equal(jitted, jgmm.predict(result, gaps, missing="nan"))
