"""Programs are compiled as suits the amount of data, and give the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgmm.data import programs
from jgmm.data.programs import are_few, on_host, program, round_up

FEW, MANY = 100, (1 << 15) + 100


def numbers(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=n)


def moment(x: Any, power: int) -> Any:
    """Of some numbers, of a window that does not depend on how many there are."""
    return jnp.sum(jnp.exp(-(x[:FEW] ** 2)) * x[:FEW] ** power)


def expected(x: np.ndarray, power: int) -> np.ndarray:
    return np.sum(np.exp(-(x[:FEW] ** 2)) * x[:FEW] ** power)


raised = program("power")(moment)


def test_few_are_few() -> None:
    assert are_few(1 << 15)
    assert not are_few((1 << 15) + 1)
    assert are_few(FEW)
    assert not are_few(MANY)


@pytest.mark.parametrize("once", [False, True])
def test_few_and_many_numbers_give_the_same(once: bool) -> None:
    call = program("power", once=once)(moment)
    for n in (FEW, MANY):
        for power in (2, 3):
            found = call(numbers(n), power=power)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected(numbers(n), power), rtol=1e-13)


def test_results_are_trees_and_arguments_none() -> None:
    @program()
    def both(tree: Any, nothing: Any) -> Any:
        assert nothing is None
        return {"sum": tree["a"] + tree["b"], "nothing": nothing}

    found = both({"a": np.ones(2), "b": 2.0}, None)
    np.testing.assert_array_equal(found["sum"], 3)
    assert found["nothing"] is None
    assert both.__name__ == "both"


@pytest.mark.parametrize(
    ("name", "n", "once"),
    [
        ("_QUICK", FEW, True),
        ("_QUICK_LOOP", FEW, False),
        ("_ONCE", MANY, True),
        ("_WELL", MANY, False),
    ],
)
def test_each_amount_has_its_options_and_does_without(
    name: str, n: int, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An XLA that does not know one of them compiles as it does by itself."""
    monkeypatch.setattr(programs, name, {"xla_cpu_no_such_thing": True})
    call = program("power", once=once)(moment)
    for _ in range(2):
        np.testing.assert_allclose(call(numbers(n), power=2), expected(numbers(n), 2), rtol=1e-13)
    # It is that option that is meant: with an impossible value there is an error.
    known = next(iter(programs._ONCE)) if name != "_ONCE" else "xla_cpu_use_fusion_emitters"
    monkeypatch.setattr(programs, name, {known: "neither"})
    with pytest.raises(Exception, match=known):
        program("power", once=once)(moment)(numbers(n), power=2)


def test_errors_of_the_function_are_its_own() -> None:
    @program()
    def fails(x: Any) -> Any:
        raise ValueError("expected something else")

    with pytest.raises(ValueError, match="expected something else"):
        fails(np.ones(3))


def test_another_value_compiles_nothing_and_another_shape_or_static_argument_does() -> None:
    traced = []

    @program("power")
    def seen(x: Any, power: int) -> Any:
        traced.append((len(x), power))
        return x**power

    for _ in range(2):
        for n, power in ((3, 2), (4, 2), (3, 3)):
            seen(np.ones(n), power=power)
    assert sorted(traced) == [(3, 2), (3, 3), (4, 2)]


@pytest.mark.parametrize("n", [FEW, MANY])
def test_inside_of_a_program_it_is_a_part_of_that(n: int) -> None:
    x = numbers(n)
    found = jax.jit(lambda x: 2 * raised(x, power=2))(x)
    np.testing.assert_allclose(found, 2 * expected(x, 2), rtol=1e-13)
    mapped = jax.jit(jax.vmap(lambda x: raised(x, power=2)))(np.stack([x, 2 * x]))
    np.testing.assert_allclose(mapped, [expected(x, 2), expected(2 * x, 2)], rtol=1e-13)


@pytest.mark.parametrize("n", [FEW, MANY])
def test_vmap_and_grad_go_through(n: int) -> None:
    x = numbers(n)
    mapped = jax.vmap(lambda x: raised(x, power=3))(np.stack([x, 2 * x]))
    np.testing.assert_allclose(mapped, [expected(x, 3), expected(2 * x, 3)], rtol=1e-13)
    slope = np.where(np.arange(n) < FEW, np.exp(-(x**2)) * (2 * x - 2 * x**3), 0)
    for grad in (jax.grad, lambda function: jax.jit(jax.grad(function))):
        found = grad(lambda x: raised(x, power=2))(x)
        np.testing.assert_allclose(found, slope, rtol=1e-12, atol=1e-15)
    _, tangent = jax.jvp(lambda x: raised(x, power=2), (x,), (np.ones(n),))
    np.testing.assert_allclose(tangent, slope.sum(), rtol=1e-12)


@given(k=st.integers(1, 10**6))
def test_few_numbers_of_components_serve_few_samples(k: int) -> None:
    most = round_up(k, FEW)
    assert most >= max(k, 8)
    assert most == 8 or most < 2 * k
    assert most & (most - 1) == 0
    assert round_up(most, FEW) == most
    assert round_up(k, MANY) == k


def test_numpy_may_work_on_what_is_on_the_host() -> None:
    x = np.ones(3)
    assert on_host((x, jnp.ones(3), None, 2.0))
    seen = []

    def trace(y: Any) -> Any:
        # A part of a program neither by itself nor beside it.
        seen.extend([on_host(y), on_host(x)])
        return y

    jax.jit(trace)(x)
    assert seen == [False, False]
    seen.clear()
    jax.vmap(trace)(x)
    assert seen == [False, True]
