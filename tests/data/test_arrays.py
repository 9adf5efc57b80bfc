"""What is compiled beside the programs that do the work: nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def test_of_another_shape_only_the_programs_of_a_fit_are_compiled() -> None:
    """Not one more for each array that comes or goes: each would take as long as a small fit."""
    compiled = []

    def note(event: str, duration_secs: float, **about: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(about.get("fun_name", event))

    x = np.random.default_rng(0).normal(size=(211, 2))
    jgmm.fit(x, 2)  # what is compiled once for all shapes
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        result = jgmm.fit(x[:197], 3, weights=np.ones(197))
        repr(result)
        float(result.bic)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(compiled) <= 4, compiled
