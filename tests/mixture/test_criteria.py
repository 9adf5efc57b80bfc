"""BIC, AIC and ICL against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from examples import FAMILIES, cast, overlapping, plain, start

import jgmm

X = overlapping()
W = np.random.default_rng(1).uniform(0.5, 2.0, len(X))


# Of 3 components in 3 dimensions: 2 weights, 9 means, and the covariances.
PARAMETERS = {"full": 2 + 9 + 18, "tied": 2 + 9 + 6, "diag": 2 + 9 + 9, "spherical": 2 + 9 + 3}


@pytest.mark.parametrize("family", FAMILIES)
def test_criteria_are_what_their_definitions_say(family: str) -> None:
    mixture = cast(start(family, X), np.float64)
    gmm = plain(mixture)
    n = W.sum()
    total = reference.score(gmm, X, W) * n
    r = reference.responsibilities(gmm, X)
    entropy = -(W[:, None] * r * np.log(r)).sum()
    p = PARAMETERS[family]
    bic = -2 * total + p * np.log(n)
    np.testing.assert_allclose(jgmm.bic(mixture, X, W), bic, rtol=1e-9)
    np.testing.assert_allclose(jgmm.aic(mixture, X, W), -2 * total + 2 * p, rtol=1e-9)
    np.testing.assert_allclose(jgmm.icl(mixture, X, W), bic + 2 * entropy, rtol=1e-9)


def test_an_unused_component_has_no_parameters() -> None:
    used = cast(start("full", X), np.float64)
    more = jgmm.Mixture(
        weights=np.append(used.weights, 0.0),
        means=np.concatenate([used.means, used.means[:1]]),
        covariances=np.concatenate([used.covariances, used.covariances[:1]]),
    )
    for criterion in (jgmm.bic, jgmm.aic, jgmm.icl):
        np.testing.assert_allclose(criterion(more, X), criterion(used, X), rtol=1e-12)


def test_integer_weights_count_as_repetitions() -> None:
    mixture = cast(start("diag", X), np.float64)
    counts = np.random.default_rng(2).integers(0, 4, len(X))
    repeated = np.repeat(X, counts, axis=0)
    for criterion in (jgmm.bic, jgmm.aic, jgmm.icl):
        np.testing.assert_allclose(
            criterion(mixture, X, counts), criterion(mixture, repeated), rtol=1e-11
        )
