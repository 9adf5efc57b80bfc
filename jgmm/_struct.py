"""The one place that knows how jgmm's state is declared, changed, compared and shown."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import chex
import jax
import numpy as np

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def struct(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass that is a JAX pytree and that type checkers understand.

    Change a field with `dataclasses.replace`. A method ``_validate`` is called on what a caller
    makes so, and not when JAX rebuilds an object from tracers and placeholders, nor by `amend` and
    `build`.
    """
    # In the class itself, for a dataclass would put its own over what is inherited.
    cls.__repr__ = _repr if cls.__repr__ is object.__repr__ else cls.__repr__  # type: ignore[method-assign]
    made = chex.dataclass(cls, frozen=True, mappable_dataclass=False, eq=False)
    for name in ("to_tuple", "from_tuple"):
        delattr(made, name)
    made.replace = _replace
    made.__eq__ = _equal
    made.__hash__ = None
    if hasattr(made, "_validate"):
        made.__init__ = _validated(made.__init__)
    return made


def amend(instance: T, **changes: Any) -> T:
    """``instance`` with some fields changed, as they are: nothing is validated."""
    return build(type(instance), **{**instance.__dict__, **changes})


def build(cls: type[T], **fields: Any) -> T:
    """An instance of all its fields, as they are: nothing is validated."""
    instance = object.__new__(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = fields[field.name] if field.name in fields else field.default
        object.__setattr__(instance, field.name, value)
    return instance


def _validated(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def validated_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._validate()

    return validated_init


def _replace(self: T, **changes: Any) -> T:
    """The same with some fields changed, as by `dataclasses.replace`."""
    return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def _equal(self: Any, other: object) -> Any:
    """Whether both are of one structure and all their arrays are equal; NaN equals NaN."""
    if type(other) is not type(self):
        return NotImplemented
    structure: Any
    ours, structure = jax.tree.flatten(self)
    theirs, other_structure = jax.tree.flatten(other)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (*ours, *theirs)):
        raise TypeError(
            f"== of {type(self).__name__}: expected values, got tracers, of which a program knows "
            "none; compare the arrays with jax.numpy"
        )
    return structure == other_structure and all(map(_same, ours, theirs))


def _same(ours: Any, theirs: Any) -> bool:
    a, b = np.asarray(ours), np.asarray(theirs)
    inexact = np.issubdtype(a.dtype, np.inexact) and np.issubdtype(b.dtype, np.inexact)
    return bool(np.array_equal(a, b, equal_nan=bool(inexact)))


def _repr(self: Any) -> str:
    """The fields, arrays by their dtypes and shapes."""
    fields = ", ".join(
        f"{f.name}={_short(getattr(self, f.name))}" for f in dataclasses.fields(self)
    )
    return f"{type(self).__name__}({fields})"


_SHOWN = ("float16", "float32", "float64", "int32", "int64")


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if value.shape == () and isinstance(value, np.ndarray | np.generic | jax.Array):
            if not isinstance(value, jax.core.Tracer) and value.dtype in _SHOWN:
                return f"{np.asarray(value)[()]:.6g}"
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return repr(value)


def values_known(instance: Any) -> bool:
    """Whether all leaves are arrays with values: no tracers, no placeholders.

    Of arrays on the devices of several processes one process has not all.
    """
    leaves = jax.tree.leaves(instance)
    return all(
        isinstance(leaf, np.ndarray | np.generic | jax.Array)
        and not isinstance(leaf, jax.core.Tracer)
        and (not isinstance(leaf, jax.Array) or leaf.is_fully_addressable)
        for leaf in leaves
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """A short table under a line of text; shown as text, or as HTML by Jupyter."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    swatches: Sequence[str] = ()  # a colour for each row as hex, or "", shown in HTML alone
    swatch_title: str = ""

    def __str__(self) -> str:
        """The table as text."""
        cells = [list(self.columns), *map(list, self.rows)] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        ]
        return "\n".join([*([self.title] if self.title else []), *lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table as HTML."""
        parts = [f"<p><b>{html.escape(self.title)}</b></p>"] if self.title else []
        if self.rows:
            cells = [[f"<td>{html.escape(cell)}</td>" for cell in row] for row in self.rows]
            head = [f"<th>{html.escape(cell)}</th>" for cell in self.columns]
            if self.swatches:
                head.insert(1, f"<th>{html.escape(self.swatch_title)}</th>")
                for row, code in zip(cells, self.swatches, strict=True):
                    row.insert(1, f"<td>{_swatch(code)}</td>")
            body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
            parts.append(
                f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{body}</tbody></table>"
            )
        parts.extend(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return "".join(parts)


def _swatch(code: str) -> str:
    """A small field of a colour, that is seen on paper of any colour."""
    if not code:
        return ""
    style = (
        f"display:inline-block;width:1.4em;height:1em;vertical-align:-0.1em;background:{code};"
        "border:1px solid #808080;border-radius:2px"
    )
    return f'<span role="img" aria-label="{code}" title="{code}" style="{style}"></span>'


class Shown:
    """What shows itself as tables, where its values are known."""

    def _tables(self) -> Sequence[Table]:
        raise NotImplementedError

    def _picture(self) -> str:
        """What Jupyter shows below the tables, as HTML."""
        return ""

    def _showable(self) -> bool:
        """Whether there are values, of the shapes that tables are for."""
        return values_known(self)

    def __repr__(self) -> str:
        """The tables as text; fields, dtypes and shapes where there are none."""
        return "\n".join(map(str, self._tables())) if self._showable() else _repr(self)

    def _repr_html_(self) -> str | None:
        """The same for Jupyter, with colours and curves."""
        if not self._showable():
            return None
        return "".join(table._repr_html_() for table in self._tables()) + self._picture()


def number(value: Any, digits: int = 4) -> str:
    """A number for a table."""
    value = float(value)
    if not np.isfinite(value):
        return "-" if np.isnan(value) else f"{value}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
