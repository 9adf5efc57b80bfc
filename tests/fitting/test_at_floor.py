"""Results name the components that only the floor keeps from collapsing."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import pytest

import jgmm
from jgmm.data.programs import program

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 3))
X[:40] = 4.0  # equal samples
X[40:100, 2] = -6.0  # flat along one feature
MEANS = np.array([[4.0, 4, 4], [0, 0, -6], [0, 0, 0]])
FLAT = {
    "full": [True, True, False],
    "diag": [True, True, False],
    "spherical": [True, False, False],
    "tied": [False, False, False],
}


def fit(x: np.ndarray, **options: object) -> jgmm.FitResult:
    return jgmm.fit(x, 3, init=MEANS.astype(x.dtype), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", FLAT)
def test_flat_components_are_named(family: str, dtype: type) -> None:
    result = fit(X.astype(dtype), covariance_type=family)
    assert result.at_floor is not None
    assert np.asarray(result.at_floor).tolist() == FLAT[family]


def test_none_is_where_there_is_no_floor_or_no_flat_component() -> None:
    noisy = X + 0.1 * RNG.normal(size=X.shape)
    assert not np.any(fit(noisy).at_floor)
    assert not np.any(fit(noisy, reg_covar=0.0).at_floor)


def test_they_move_with_their_components() -> None:
    result = fit(X, order="weight")
    assert (np.diff(result.mixture.weights) <= 0).all()
    assert np.asarray(result.at_floor).tolist() == [False, True, True]
    swept = jgmm.sweep(X, (4, 3), order="weight")
    assert swept.fits.at_floor is not None
    assert swept.fits.at_floor.shape == (2, 1, 4)
    assert swept[3].at_floor is not None
    assert len(swept[3].at_floor) == 3
    assert not swept.fits.at_floor[1, 0, 3]  # which is padding


def test_it_is_the_same_in_a_program_and_for_each_of_many() -> None:
    diag = functools.partial(fit, covariance_type="diag")
    one = program(once=True)(lambda x: diag(x))(X)
    assert np.asarray(one.at_floor).tolist() == FLAT["diag"]
    two = program(once=True)(jax.vmap(diag))(np.stack([X, X + 0.1 * RNG.normal(size=X.shape)]))
    assert np.asarray(two.at_floor).tolist() == [FLAT["diag"], [False] * 3]


def test_the_table_says_so() -> None:
    assert "at the floor of the variances: 0, 1" in repr(fit(X))
    assert "at the floor" not in repr(fit(X, covariance_type="tied"))


def test_the_table_of_a_sweep_says_so_of_each_k() -> None:
    swept = jgmm.sweep(X, (4, 1, 3), order="weight")
    for shown in (repr(swept), str(swept.summary()), swept._repr_html_() or ""):
        assert "k = 1, at the floor" not in shown
        for k in (3, 4):
            flat = ", ".join(map(str, np.flatnonzero(swept[k].at_floor)))
            assert flat
            assert re.findall(rf"k = {k}, (at the floor of the variances: [\d, ]+)", shown) == [
                f"at the floor of the variances: {flat}"
            ]
    assert "at the floor" not in repr(jgmm.sweep(X, (1,), covariance_type="tied"))
    unknown = swept.replace(fits=swept.fits.replace(at_floor=None))  # type: ignore[attr-defined]
    assert "at the floor" not in repr(unknown)

    # Of the best restart, not of the first.
    two = jgmm.sweep(X, (3,), n_restarts=2, search="none")
    marked = np.array([[[True, False, False], [False, False, True]]])
    for best, said in ((0, "variances: 0"), (1, "variances: 2")):
        fits = two.fits.replace(  # type: ignore[attr-defined]
            objective=np.eye(2)[best][None], at_floor=marked
        )
        notes = two.replace(fits=fits).summary().notes  # type: ignore[attr-defined]
        assert notes[-1].endswith(said)


def test_segments_without_spread_are_named() -> None:
    image = RNG.integers(0, 255, (40, 40)).astype(np.uint8)
    image[:20] = 7
    for options in ({}, {"noise_model": "potts"}):
        found = jgmm.segment(image, 2, **options)  # type: ignore[arg-type]
        flat = np.asarray(found.fit.at_floor)
        assert flat[found.labels[0, 0]]
        assert not flat[found.labels[-1, 0]]
