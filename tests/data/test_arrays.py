"""What is compiled beside the programs that do the work: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import heard

import jgmm
from jgmm import _checks


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.ones((3, 2)), None),
        (np.arange(5), None),
        (np.array([True, False]), None),
        (2, np.float32),
        (0.5, np.float64),
        (jnp.ones(3), np.float64),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_an_array_is_what_jax_makes_of_it(value: Any, dtype: Any, wide: bool) -> None:
    with jax.enable_x64(wide):
        dtype = dtype and jax.dtypes.canonicalize_dtype(dtype)
        found, expected = _checks.as_array(value, dtype), jnp.asarray(value, dtype)
    assert (found.dtype, found.shape, found.weak_type) == (
        expected.dtype,
        expected.shape,
        expected.weak_type,
    )
    np.testing.assert_array_equal(found, expected)
    assert _checks.as_array(np.float64(1e300), np.float32) == np.inf
    traced = jax.jit(lambda x: _checks.as_array(x, np.float32) + 1)(np.ones(3, np.float32))
    np.testing.assert_array_equal(traced, 2)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The programs that are compiled during a test."""
    with heard("backend_compile_duration") as names:
        yield names


def test_of_another_shape_only_the_programs_of_a_fit_are_compiled(compiled: list[str]) -> None:
    """Not one more for each array that comes or goes: each would take as long as a small fit."""
    x = np.random.default_rng(0).normal(size=(211, 2))
    jgmm.fit(x, 2)  # what is compiled once for all shapes
    compiled.clear()
    result = jgmm.fit(x[:197], 3, weights=np.ones(197))
    repr(result)
    float(result.bic)
    assert len(compiled) <= 4, compiled


def test_of_another_length_what_sums_over_samples_is_not_compiled_again(
    compiled: list[str],
) -> None:
    """The run of a fit is for all lengths of one block, and a score for what is padded alike."""
    x = np.random.default_rng(0).normal(size=(300, 2))
    swept = jgmm.sweep(x[:211], [1, 2])
    for call in (jgmm.score, jgmm.bic):
        call(swept[2], x[:211])
    compiled.clear()
    again = jgmm.sweep(x, [1, 2], weights=np.ones(300))
    assert all("posed" in name or "started" in name for name in compiled), compiled
    compiled.clear()
    for call in (jgmm.score, jgmm.bic):
        call(again[2], x[:150], weights=np.ones(150))
    assert compiled == []
    densities = np.asarray(jgmm.log_prob(again[2], x))
    for n in (300, 150):
        found = jgmm.score(again[2], x[:n], weights=np.arange(n))
        np.testing.assert_allclose(found, np.average(densities[:n], weights=np.arange(n)))
