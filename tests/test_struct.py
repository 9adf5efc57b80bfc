"""State: compared by value, shown in a line, changed without looking; and nothing else in help."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jgmm
from jgmm._struct import Table, amend, number, struct

RESULTS = (
    jgmm.FamiliesResult,
    jgmm.FitResult,
    jgmm.KMeansResult,
    jgmm.Mixture,
    jgmm.Prior,
    jgmm.Segmentation,
    jgmm.StandardErrors,
    jgmm.SufficientStats,
    jgmm.SweepResult,
)


@struct
class Pair:
    """Two arrays."""

    first: Any
    second: Any = None

    def _validate(self) -> None:
        if isinstance(self.first, str):
            raise ValueError("no strings")


def test_equality_is_of_values_and_structure() -> None:
    one = Pair(first=np.array([1.0, np.nan]), second=np.arange(3))
    assert one == Pair(first=jnp.array([1.0, np.nan]), second=jnp.arange(3))
    assert one != Pair(first=np.array([1.0, 2.0]), second=np.arange(3))
    assert one != Pair(first=np.array([1.0, np.nan]))
    assert one != Pair(first=np.ones(3), second=np.arange(3))
    assert one != 3
    with pytest.raises(TypeError, match="unhashable type: 'Pair'"):
        hash(one)
    with pytest.raises(TypeError, match="== of Pair: expected values, got tracers"):
        jax.jit(lambda pair: pair == pair)(one)


def test_what_a_caller_makes_is_validated_and_nothing_else_is() -> None:
    with pytest.raises(ValueError, match="no strings"):
        Pair(first="a")
    with pytest.raises(ValueError, match="no strings"):
        Pair(first=1).replace(first="a")
    assert amend(Pair(first=1), first="a").first == "a"
    assert jax.tree.map(lambda leaf: "a", Pair(first=1)).first == "a"


def test_what_has_no_table_is_a_line() -> None:
    pair = Pair(first=np.zeros((2, 3)), second=jnp.float32(0.25))
    assert repr(pair) == "Pair(first=float64[2, 3], second=0.25)"
    shown = []
    jax.jit(lambda p: shown.append(repr(p)))(pair)
    assert shown == ["Pair(first=float64[2, 3], second=float32[])"]


@pytest.mark.parametrize("cls", RESULTS, ids=lambda cls: cls.__name__)
def test_help_describes_the_fields_and_has_no_noise(cls: type) -> None:
    assert not {"to_tuple", "from_tuple"} & set(dir(cls))
    text = cls.__doc__ or ""
    described = text.partition("Attributes:")[2]
    for field in dataclasses.fields(cls):
        assert f"\n        {field.name}: " in described, field.name


def test_tables_are_text_and_html() -> None:
    table = Table("A <b>", ("k", "x"), [("1", "a"), ("10", "bcd")], ("  end",))
    assert str(table).splitlines() == ["A <b>", "   k    x", "   1    a", "  10  bcd", "  end"]
    html = table._repr_html_()
    assert "A &lt;b&gt;" in html
    assert "<td>bcd</td>" in html
    assert number(np.nan) == "-"
    assert number(-np.inf) == "-inf"
    assert number(-1234567.8, 6) == "-1,234,568"
    assert number(0.123456) == "0.1235"
