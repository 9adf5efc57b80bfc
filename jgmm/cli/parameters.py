"""What the options of the command line may be, and the errors that say so."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from jgmm._checks import LARGEST
from jgmm.families.distributions import ESTIMATED
from jgmm.families.table import family_of, with_rank
from jgmm.fitting.choice import RULES
from jgmm.image.settings import MOST_BETA, MOST_SEGMENTS

_LEAST_DF, _MOST_DF = 1e-3, 1e9  # degrees of freedom
_SHORT = reprlib.Repr()  # of what was typed, which may be of any length
_SHORT.maxstring = 80


def one_of(names: Iterable[str], what: str) -> Any:
    """An option that takes one of some names."""
    listed = ", ".join(names)

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            raise typer.BadParameter(f"expected one of {listed}; got {_SHORT.repr(value)}")
        return value

    return typer.Option(metavar="NAME", callback=check, help=f"{what}: {listed}.")


def _number(kind: type, least: float, most: float, expected: str) -> Callable[[Any], Any]:
    """How an option is read that takes a number of some kind."""

    def read(value: Any) -> Any:
        try:
            if least <= (number := kind(value)) <= most:
                return number
        except ValueError:
            pass
        raise typer.BadParameter(f"expected {expected}, got {_SHORT.repr(value)}")

    return read


def count(least: int, most: int, text: str) -> Any:
    """An option that takes a whole number."""
    read = _number(int, least, most, f"a whole number from {least} to {most}")
    return typer.Option(metavar="N", parser=read, help=text)


def path(value: str | Path) -> Path:
    """A file or folder; the empty name would be the folder that one is in."""
    if not str(value):
        raise typer.BadParameter("expected the name of a file or folder, got an empty one")
    return Path(value)


def amount(metavar: str, text: str) -> Any:
    """An option that takes a number of at least 0 that float32 can hold."""
    read = _number(float, 0, LARGEST, f"a finite number of at least 0 and at most {LARGEST:g}")
    return typer.Option(metavar=metavar, parser=read, help=text)


def positive(metavar: str, text: str) -> Any:
    """An option that takes a number above 0 that float32 can hold."""
    read = _number(float, 1 / LARGEST, LARGEST, f"a finite number above 0, at most {LARGEST:g}")
    return typer.Option(metavar=metavar, parser=read, help=text)


def as_beta(value: str) -> str:
    """How tightly neighbours can be tied, or auto."""
    try:
        good = value == "auto" or 0 <= float(value) <= MOST_BETA
    except ValueError:
        good = False
    if not good:
        raise typer.BadParameter(
            f"expected auto or a number of at least 0 and at most {MOST_BETA:g}, "
            f"got {_SHORT.repr(value)}"
        )
    return value


def as_degrees(value: str) -> str:
    """Degrees of freedom, or how they are estimated."""
    try:
        good = value in ESTIMATED or _LEAST_DF <= float(value) <= _MOST_DF
    except ValueError:
        good = False
    if not good:
        raise typer.BadParameter(
            f"expected {', '.join(ESTIMATED)} or a number from {_LEAST_DF:g} to {_MOST_DF:g}, got "
            f"{_SHORT.repr(value)}"
        )
    return value


def of_rank(covariance: str, rank: int | None) -> str:
    """The family of that name and rank."""
    try:
        named = str(with_rank(covariance, rank))
        family_of(named, "--covariance")
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("rank=3", "--rank 3")) from None
    return named


def as_rule(value: str | None) -> str | None:
    """A rule that chooses k, or none."""
    if value not in (None, *RULES):
        raise typer.BadParameter(f"expected one of {', '.join(RULES)}; got {_SHORT.repr(value)}")
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
                "expected whole numbers such as 3,5,7, a range such as 2-12, or auto; "
                f"got {_SHORT.repr(text)}"
            )
        # Only so many digits are looked at: int refuses thousands, and leading zeros say nothing.
        low, high = (int(end.lstrip("0")[:9] or 0) for end in (ends[0], ends[-1]))
        if not 1 <= low or not high <= MOST_SEGMENTS:
            raise typer.BadParameter(
                f"expected numbers from 1 to {MOST_SEGMENTS}, got {_SHORT.repr(text)}"
            )
        if low > high:
            raise typer.BadParameter(
                f"expected a range from low to high, got {_SHORT.repr(part.strip())}"
            )
        ks.update(range(low, high + 1))
    return tuple(sorted(ks))
