"""The one place that knows how jgmm's state is declared."""

from __future__ import annotations

from typing import TypeVar, dataclass_transform

import chex

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def struct(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass that is a JAX pytree and that type checkers understand.

    Change a field with `dataclasses.replace`. Nothing is validated here: JAX rebuilds these
    objects from tracers and placeholders each time a pytree is unflattened.
    """
    return chex.dataclass(cls, frozen=True, mappable_dataclass=False)  # type: ignore[no-any-return,call-overload,unused-ignore]
