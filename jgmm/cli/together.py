"""Which options of the command line go together, and the errors that say which do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from jgmm.cli.options import Options
from jgmm.families.table import conjugate_names


def not_both(first: str, one: object, second: str, other: object) -> None:
    """Refuse two options of which one does not go with the other."""
    if one and other:
        raise typer.BadParameter(f"expected one of {first} and {second}, got both")


def expect_suited(options: Options, recommended: bool) -> None:
    """Refuse options that do not go together."""
    default, potts = Options(), options.noise_model
    if options.degrees != default.degrees and options.distribution == default.distribution:
        raise typer.BadParameter("expected --distribution student_t with --degrees-of-freedom")
    not_both("--smooth", options.smooth, "--noise-model potts", potts)
    not_both("--recommended", recommended, "--noise-model potts", potts)
    not_both("--labels", options.labels, "--noise-model potts", potts)
    not_both("--bayes", options.bayes, "--noise-model potts", potts)
    not_both("--animate", options.animate, "--noise-model potts", potts)
    not_both("--animate", options.animate, "--bayes", options.bayes)
    not_both("--animate", options.animate, "--stack", options.stack)
    not_both("--regions", options.regions, "--merge", options.merge)
    not_both("--page", options.page, "--stack", options.stack)
    if options.bayes and options.distribution != default.distribution:
        raise typer.BadParameter(
            f"expected Gaussian components with --bayes, got {options.distribution}"
        )
    conjugate = conjugate_names()
    if options.bayes and options.covariance not in conjugate:
        raise typer.BadParameter(
            f"expected one of {', '.join(conjugate)} with --bayes, got {options.covariance}",
            param_hint="'--covariance'",
        )


def expect_found(options: Options, found: Sequence[Path]) -> None:
    """Refuse what is about one image of several, or about an image where there is none."""
    for name, given in (("--labels", options.labels), ("--mask", options.mask)):
        if given and len(found) != 1:
            raise typer.BadParameter(f"expected one image for {name}, got {len(found) or 'none'}")
    others = {"--page": options.page, "--stack": options.stack, "--tiled": options.tiled}
    for name, asked in others.items():
        if asked and not found:
            raise typer.BadParameter(f"expected images for {name}, got none")


def expect_joint(options: Options, images: Sequence[Path] | None) -> None:
    """Refuse what binds a fit to the places of one image."""
    for name, given in (
        ("--stack", options.stack),
        ("--labels", options.labels),
        ("--noise-model", options.noise_model),
        ("--tiled", options.tiled),
        ("--animate", options.animate),
        ("features with +xy", options.features.endswith("+xy")),
    ):
        if given:
            raise typer.BadParameter(f"expected no {name} with --joint")
    if not images:
        raise typer.BadParameter("expected images for --joint, got none")
