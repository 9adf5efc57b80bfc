"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jgmm.cli.parameters import count, path

Folder = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="DIR", parser=path, help="Write into DIR/<image name>/."
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask", metavar="PNG", parser=path, help="Leave out what is black or transparent there."
    ),
]
Page = Annotated[
    int | None, count(1, 10**9, "Of a file of several pages or frames, from 1 on; else the first.")
]
Stack = Annotated[
    bool, typer.Option("--stack", help="Take all pages or frames of a file, by one mixture.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Make no report.html.")]
