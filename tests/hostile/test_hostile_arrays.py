"""Arrays that no photograph has, of few shapes, so that little is compiled."""

from __future__ import annotations

import dataclasses
import warnings

import hypothesis
import numpy as np
import pytest
from budget import cases
from hypothesis import strategies as st
from oracles import check_fit, same

import jgmm

N, D, K = 48, 2, 3
KINDS = ("normal", "grid", "duplicates", "collinear", "constant", "outlier", "two", "one varies")


WEIGHTS = ("none", "random", "zeros", "one", "wide", "nothing", "negative", "not a number")
BAD = (None,) * 8 + (np.nan, np.inf, -np.inf)


@dataclasses.dataclass(frozen=True)
class Case:
    """How an array is made; what hypothesis shows of a failure is all there is to know."""

    seed: int = 0
    kind: str = "normal"
    exponent: int = 0  # of the scale, to the base 10
    other: int = 0  # of the second feature's, further
    offset: float = 0.0  # in standard deviations, about
    bad: float | None = None
    layout: str = "C"
    weight: str = "none"
    dtype: str = "float32"
    family: str = "full"
    search: str = "best"

    def pixels(self) -> np.ndarray:
        """[N, D]."""
        rng = np.random.default_rng(self.seed)
        x = rng.normal(size=(N, D)) + 3 * rng.integers(0, 3, (N, 1))
        if self.kind == "grid":
            x = rng.integers(0, 4, (N, D)).astype(float)
        elif self.kind == "duplicates":
            x = x[rng.integers(0, 4, N)]
        elif self.kind == "collinear":
            x = x[:, :1] * np.array([1.0, rng.normal()])
        elif self.kind == "constant":
            x = np.ones((N, D))
        elif self.kind == "outlier":
            x[0] *= 1e4
        elif self.kind == "two":
            x = x[rng.integers(0, 2, N)]
        elif self.kind == "one varies":
            x[:, 1] = x[0, 1]
        x = (x + self.offset) * np.array([1.0, 10.0**self.other]) * 10.0**self.exponent
        with np.errstate(over="ignore", under="ignore"):
            x = x.astype(self.dtype)
        if self.bad is not None:
            x[seed_place(self.seed), 0] = self.bad
        if self.layout == "F":
            return np.asfortranarray(x)
        if self.layout == "reversed":
            return x[::-1, ::-1]
        if self.layout == "spread":
            return np.repeat(x, 2, axis=0)[::2]
        return x.astype(x.dtype.newbyteorder()) if self.layout == "swapped" else x

    def weights(self) -> np.ndarray:
        """[N]."""
        rng = np.random.default_rng(self.seed + 1)
        if self.weight == "random":
            return rng.random(N)
        if self.weight == "zeros":
            return (rng.random(N) < 0.5).astype(float)
        if self.weight == "one":
            return np.eye(1, N, seed_place(self.seed))[0]
        if self.weight == "wide":
            return 10.0 ** rng.integers(-12, 12, N)
        w = np.full(N, 0.0 if self.weight == "nothing" else 1.0)
        if self.weight in ("negative", "not a number"):
            w[seed_place(self.seed)] = -1.0 if self.weight == "negative" else np.nan
        return w


def seed_place(seed: int) -> int:
    return seed % N


CASES = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    exponent=st.integers(-30, 30),
    other=st.one_of(st.just(0), st.integers(-6, 6)),
    offset=st.sampled_from([0.0, 0.0, 1.0, -10.0, 1e2]),
    bad=st.sampled_from(BAD),
    layout=st.sampled_from(["C", "F", "reversed", "spread", "swapped"]),
    weight=st.sampled_from(WEIGHTS),
    dtype=st.sampled_from(["float32", "float64"]),
    family=st.sampled_from(["full", "tied", "diag", "spherical"]),
    search=st.sampled_from(["best", "none"]),
)


def check(case: Case) -> None:
    x, w = case.pixels(), case.weights()

    def fit() -> jgmm.FitResult:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jgmm.FitWarning)
            return jgmm.fit(
                x, K, weights=w, covariance_type=case.family, search=case.search, max_iter=60
            )

    if not (np.isfinite(x).all() and np.isfinite(w).all() and w.min() >= 0):
        with pytest.raises(ValueError, match="expected"):
            fit()
        return
    result = fit()
    if w.sum() == 0:
        assert int(result.status) != jgmm.Status.CONVERGED
        return
    check_fit(result, x, w)
    if case.seed % 4 == 0:  # the program is that of all the others
        same(result, fit())


@hypothesis.given(CASES)
@cases("arrays")
def test_fits_of_any_array(case: Case) -> None:
    check(case)
