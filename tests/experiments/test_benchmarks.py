"""What the benchmarks time is what they say."""

import pytest
from examples import X

import jgmm
from experiments.benchmarks import timing


def test_a_fit_that_stops_early_is_not_timed() -> None:
    options = {"accelerate": False, "tol": 0.0}
    result = jgmm.fit(X, 2, max_iter=1, **options)
    assert timing.all_steps(result, 1) is result
    with pytest.raises(RuntimeError, match=r"expected 5 steps to time, got 1 \(MAX_ITER\)"):
        timing.all_steps(result, 5)
