"""What the options of the command line may be, and the errors that say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from jgmm._checks import LARGEST
from jgmm.fitting.choice import RULES
from jgmm.image.settings import MOST_BETA, MOST_SEGMENTS


def one_of(names: Iterable[str], what: str) -> Any:
    """An option that takes one of some names."""
    listed = ", ".join(names)

    def check(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"expected one of {listed}; got {value!r}")
        return value

    return typer.Option(metavar="NAME", callback=check, help=f"{what}: {listed}.")


def count(least: int, most: int, text: str) -> Any:
    """An option that takes a whole number."""

    def check(value: int | None) -> int | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"expected a number from {least} to {most}, got {value}")
        return value

    return typer.Option(metavar="N", callback=check, help=text)


def amount(value: float) -> float:
    """A number of at least 0 that float32 can hold."""
    if not 0 <= value <= LARGEST:
        raise typer.BadParameter(
            f"expected a finite number of at least 0, and {LARGEST:g} at most; got {value}"
        )
    return value


def positive(value: float) -> float:
    """A number above 0 that float32 can hold."""
    if not 1 / LARGEST <= value <= LARGEST:
        raise typer.BadParameter(
            f"expected a finite number above 0, and {LARGEST:g} at most; got {value}"
        )
    return value


def as_beta(value: str) -> str:
    """How tightly neighbours can be tied, or auto."""
    try:
        good = value == "auto" or 0 <= float(value) <= MOST_BETA
    except ValueError:
        good = False
    if not good:
        raise typer.BadParameter(
            f"expected auto or a number of at least 0, and {MOST_BETA:g} at most; got {value!r}"
        )
    return value


def as_rule(value: str | None) -> str | None:
    """A rule that chooses k, or none."""
    if value not in (None, *RULES):
        raise typer.BadParameter(f"expected one of {', '.join(RULES)}; got {value!r}")
    return value


def parse_ks(text: str) -> tuple[int, ...]:
    """Numbers of segments as on the command line, "3,5,8-10", in ascending order, each once.

    None of them for "auto".

    Example:
        >>> parse_ks("3,5,8-10")
        (3, 5, 8, 9, 10)
    """
    if text.strip() == "auto":
        return ()
    ks: set[int] = set()
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-")]
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
            raise typer.BadParameter(
                f"expected whole numbers such as 3,5,7, a range such as 2-12, or auto; got {text!r}"
            )
        # Only so many digits are looked at: int refuses thousands, and leading zeros say nothing.
        low, high = (int(end.lstrip("0")[:9] or 0) for end in (ends[0], ends[-1]))
        if not 1 <= low or not high <= MOST_SEGMENTS:
            raise typer.BadParameter(f"expected numbers from 1 to {MOST_SEGMENTS}, got {text!r}")
        if low > high:
            raise typer.BadParameter(f"expected a range from low to high, got {part.strip()!r}")
        ks.update(range(low, high + 1))
    return tuple(sorted(ks))
