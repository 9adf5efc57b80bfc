"""Options that several commands have, or that take some lines to say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jgmm.cli.parameters import as_degrees, as_rule, count, path
from jgmm.fitting.choice import RULES
from jgmm.image.settings import MOST_SEGMENTS

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
Joint = Annotated[
    bool, typer.Option("--joint", help="Fit one mixture to all images: one label, one colour.")
]
Tiled = Annotated[
    bool,
    typer.Option("--tiled", help="Tile by tile into TIFF, as above 100 megapixels; is resumed."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Make no report.html.")]
Images = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="IMAGE",
        parser=path,
        help="Image files or folders of them; without any, a built-in photograph.",
        show_default=False,
    ),
]
Ks = Annotated[
    str,
    typer.Option(
        "-k",
        metavar="K,K",
        help=f"Numbers of segments, 1 to {MOST_SEGMENTS}: 3,5,7; 2-12; or auto.",
    ),
]
Degrees = Annotated[
    str,
    typer.Option(
        "--degrees-of-freedom",
        metavar="DF",
        callback=as_degrees,
        help="Of student_t components: free, shared, or a number.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="PNG",
        parser=path,
        help="Scribbles: a colour for each segment; black or transparent is unknown.",
    ),
]
Recommended = Annotated[
    bool,
    typer.Option("--recommended", help="Lab, smoothing and merging: segments such as people draw."),
]
Rule = Annotated[
    str | None,
    typer.Option("--choose", metavar="RULE", callback=as_rule, help=f"Of k: {', '.join(RULES)}."),
]
