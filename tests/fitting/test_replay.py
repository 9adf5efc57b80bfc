"""EM told step by step is EM."""

from __future__ import annotations

import numpy as np
from examples import K, W, X

import jgmm
from jgmm.fitting.replay import replay


def test_a_replay_is_the_plain_fit_and_keeps_what_it_says() -> None:
    told = replay(X, K, weights=W, max_iter=20, n_kept=6, tol=0.0)
    plain = {"search": "none", "short_runs": False, "accelerate": False}
    fitted = jgmm.fit(X, K, weights=W, max_iter=20, tol=0.0, **plain)
    np.testing.assert_allclose(told.history, fitted.learning_curve, rtol=1e-9)
    assert (np.diff(told.history) > -1e-12).all()
    assert told.steps[0] == 0
    assert told.steps[-1] == 20
    assert len(told.mixtures) == len(told.steps) <= 6
    means = [np.average(jgmm.log_prob(mixture, X), weights=W) for mixture in told.mixtures]
    np.testing.assert_allclose(means, told.history[told.steps], rtol=1e-9)
