"""The command line: options in; exit status, and one clear line for each error, out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jgmm import __version__
from jgmm._atomic import printable
from jgmm.cli import runtime
from jgmm.cli.animation import KINDS
from jgmm.cli.arguments import (
    Degrees,
    Folder,
    Images,
    Joint,
    Ks,
    Labels,
    Mask,
    NoReport,
    Page,
    Quiet,
    Recommended,
    Rule,
    Stack,
    Tiled,
)
from jgmm.cli.attempts import attempt_all, explain, images_of, with_index
from jgmm.cli.commands import apply_image, model_for
from jgmm.cli.options import JobError, Options, with_recommended
from jgmm.cli.parameters import (
    amount,
    as_beta,
    count,
    of_rank,
    one_of,
    parse_ks,
    path,
    positive,
)
from jgmm.cli.process import MENDABLE, UNHEARD, complain, debugging, silence
from jgmm.cli.running import segment_images
from jgmm.cli.terminal import OutputError, Terminal, UnheardError
from jgmm.cli.together import expect_found, expect_joint, expect_suited, not_both
from jgmm.families.distributions import ESTIMATED
from jgmm.families.distributions import NAMES as DISTRIBUTIONS
from jgmm.families.table import names as family_names
from jgmm.fitting.choices import SEARCHES
from jgmm.image.recipe import NAMES as FEATURES

_KS = ",".join(map(str, Options.ks))

app = typer.Typer(
    help="Gaussian mixture models for pixels: photographs cut into segments of like colour.",
    epilog="To try it: jgmm segment. Without an image it takes a built-in photograph.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"jgmm {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def segment(
    context: typer.Context,
    images: Images = None,
    ks: Ks = _KS,
    output: Folder = Path("jgmm-out"),
    covariance: Annotated[
        str, one_of(family_names(), "Covariances of the components")
    ] = Options.covariance,
    rank: Annotated[
        int | None, count(1, 10**4, "Loadings of a component, of factor and ppca.")
    ] = None,
    distribution: Annotated[
        str, one_of(DISTRIBUTIONS, "Of the components; heavy tails for dust and dead pixels")
    ] = Options.distribution,
    degrees: Degrees = str(Options.degrees),
    restarts: Annotated[
        int, count(1, 1000, "Fits from different starts for each k; the likeliest is kept.")
    ] = Options.restarts,
    features: Annotated[str, one_of(FEATURES, "What describes a pixel")] = Options.features,
    xy_weight: Annotated[
        float,
        positive("W", "What position counts in +xy, with spherical covariance."),
    ] = Options.xy_weight,
    labels: Labels = None,
    mask: Mask = None,
    page: Page = None,
    stack: Stack = False,
    joint: Joint = False,
    tiled: Tiled = False,
    seed: Annotated[int, count(0, 2**32 - 1, "Of the random starts.")] = Options.seed,
    max_iter: Annotated[int, count(0, 10**6, "Steps of EM at most.")] = Options.max_iter,
    tol: Annotated[
        float, amount("T", "Stop at gains below this, in nats per pixel.")
    ] = Options.tol,
    dtype: Annotated[str, one_of(("float32", "float64"), "Precision")] = Options.dtype,
    search: Annotated[
        str, one_of(SEARCHES, "For a better optimum than one start leads to")
    ] = Options.search,
    bayes: Annotated[
        bool,
        typer.Option(
            "--bayes", help="Take k as the most: variational Bayes switches surplus segments off."
        ),
    ] = False,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Infer labels with their neighbours', after the fit.")
    ] = False,
    recommended: Recommended = False,
    noise_model: Annotated[
        str, one_of(("none", "potts"), "Fit with neighbours tied, for very noisy images")
    ] = "none",
    beta: Annotated[
        str, typer.Option(metavar="B", callback=as_beta, help="How tightly potts ties, or auto.")
    ] = "auto",
    min_region: Annotated[
        int, count(0, 10**9, "Absorb connected regions of fewer pixels.")
    ] = Options.min_region,
    merge: Annotated[float, amount("M", "Merge alike regions; 3 is typical.")] = Options.merge,
    regions: Annotated[
        int | None, count(1, 10**9, "Merge regions until so many are left, instead of --merge.")
    ] = None,
    no_report: NoReport = False,
    animate: Annotated[
        str | None, one_of(KINDS, "A film of EM for each k, with its learning curve")
    ] = None,
    choose: Rule = None,
    quiet: Quiet = False,
) -> int:
    """Segment images by Gaussian mixtures of several k.

    For each k, DIR/<image name>/ gets segmented_k3.png (each pixel in the mean colour of its
    segment), labels_k3.png, learning_curve_k3.png and model_k3.safetensors; overlay_k3.png,
    regions_k3.png and certainty_k3.png (connected regions, how sure each label is);
    segments_k3.csv and regions_k3.csv, tables; then learning_curves.png, comparison.png,
    criteria.png, summary.json and report.html, a page with all of it. Several images get an
    index.html. --animate writes animation_k3.gif: EM, run again from one start without a search.
    With --stack the pictures of each page are in a folder of its own; with --joint models, curves
    and criteria.png are in DIR. Above 100 megapixels, or with --tiled, pictures are
    segmented_k3.tif and certainty_k3.tif, and the others, of a smaller image, in reduced/.
    """
    try:
        numbers = parse_ks(ks)
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint="'-k'") from None
    options = Options(
        numbers,
        features=features,
        covariance=of_rank(covariance, rank),
        distribution=distribution,
        degrees=degrees if degrees in ESTIMATED else float(degrees),
        restarts=restarts,
        seed=seed,
        max_iter=max_iter,
        tol=tol,
        dtype=dtype,
        search=search,
        bayes=bayes,
        smooth=smooth,
        noise_model=None if noise_model == "none" else noise_model,
        beta=beta if beta == "auto" else float(beta),
        min_region=min_region,
        merge=merge,
        regions=regions,
        choose_by=choose,
        xy_weight=xy_weight,
        labels=None if labels is None else os.fspath(labels),
        mask=None if mask is None else os.fspath(mask),
        page=page,
        stack=stack,
        tiled=tiled,
        report=not no_report,
        animate=animate,
        command=context.obj or "",
    )
    expect_suited(options, recommended)
    if joint:
        expect_joint(options, images)
    found = images_of(images or ())
    if found is None:
        return MENDABLE
    expect_found(options, found)
    if recommended:
        options = with_recommended(options)
    return segment_images(found, output, options, joint=joint, quiet=quiet)


@app.command()
def apply(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", parser=path, help="A model_k*.safetensors file.")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", parser=path, help="Image files, or folders of them."),
    ],
    output: Folder = Path("jgmm-applied"),
    mask: Mask = None,
    page: Page = None,
    stack: Stack = False,
    tiled: Tiled = False,
    no_report: NoReport = False,
    quiet: Quiet = False,
) -> int:
    """Segment other images by a model that `jgmm segment` wrote.

    DIR/<image name>/ gets segmented_k3.png, labels_k3.png, overlay_k3.png, regions_k3.png,
    certainty_k3.png, segments_k3.csv, regions_k3.csv, summary.json and report.html. Several images
    get an index.html. A label is the same component in all of them; its colour is the mean in each
    image, so that colours of different images do not compare.
    """
    not_both("--page", page, "--stack", stack)
    terminal = Terminal(quiet)
    found = images_of(images)
    if found is None:
        return MENDABLE
    if mask and len(found) > 1:
        raise typer.BadParameter(f"expected one image for --mask, got {len(found)}")
    try:
        file = model_for(model)
    except JobError as error:
        complain(str(error))
        return MENDABLE
    options = Options(
        mask=None if mask is None else os.fspath(mask),
        page=page,
        stack=stack,
        tiled=tiled,
        report=not no_report,
        command=context.obj or "",
    )
    done: list[tuple[str, Path, dict[str, Any]]] = []

    def work(source: Path, folder: Path) -> None:
        said, result = apply_image(file, source, folder, options, terminal)
        done.append((source.name, folder, result))
        terminal.line(said)
        terminal.line(f"wrote {folder}")

    return with_index(attempt_all(work, found, output), done, output, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line in a process that is settled; see `jgmm.cli.main`."""
    try:
        runtime.prepare(debugging())
        command = typer.main.get_command(app)
        given = sys.argv[1:] if arguments is None else list(arguments)
        said = printable(shlex.join(["jgmm", *given]))
        code = command.main(given, prog_name="jgmm", standalone_mode=False, obj=said)
        sys.stdout.flush()
        return int(code or 0)
    except (UnheardError, BrokenPipeError, SystemExit):  # the last is typer's answer to the second
        silence(sys.stdout)
        return UNHEARD
    except OutputError as error:
        silence(sys.stdout)
        complain(str(error))
        return MENDABLE
    except OSError as error:  # while help was printed, or at the last flush
        silence(sys.stdout)
        complain(f"cannot write to standard output: {error.strerror}")
        return MENDABLE
    except Exception as error:
        describe = getattr(error, "format_message", None)  # of typer's own errors
        if describe is None:
            return explain(error)
        complain(describe())
        return MENDABLE
