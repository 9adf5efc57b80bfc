"""The command line: options in; exit status, and one clear line for each error, out."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jgmm import __version__, _runtime
from jgmm._terminal import OutputError, Terminal, complain
from jgmm.covariance import FAMILIES
from jgmm.image import ImageError, read_image, sample_image
from jgmm.image.features import FEATURES
from jgmm.job import JobError, Options, apply_job, segment_job

MOST_SEGMENTS = 1000
_MENDABLE, _INTERNAL = 2, 1

app = typer.Typer(
    help="Gaussian mixture models for pixels: photographs cut into segments of like colour.",
    epilog="To try it: jgmm segment. Without an image it takes a built-in photograph.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _one_of(names: Iterable[str], what: str) -> Any:
    """An option that takes one of some names."""
    listed = ", ".join(names)

    def check(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"expected one of {listed}; got {value!r}")
        return value

    return typer.Option(metavar="NAME", callback=check, help=f"{what}: {listed}.")


def _count(least: int, most: int, text: str) -> Any:
    """An option that takes a whole number."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise typer.BadParameter(f"expected a number from {least} to {most}, got {value}")
        return value

    return typer.Option(metavar="N", callback=check, help=text)


def _tolerance(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"expected a finite number of at least 0, got {value}")
    return value


def parse_ks(text: str) -> tuple[int, ...]:
    """Numbers of segments as on the command line, "3,5,7", in ascending order, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter(f"expected whole numbers such as 3,5,7; got {text!r}")
    ks = sorted({int(part[:9]) for part in parts})
    if ks[0] < 1 or ks[-1] > MOST_SEGMENTS:
        raise typer.BadParameter(f"expected numbers from 1 to {MOST_SEGMENTS}, got {text!r}")
    return tuple(ks)


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


Folder = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Write into DIR/<image name>/.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]


@app.command()
def segment(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Image files; without any, a built-in photograph is taken.",
            show_default=False,
        ),
    ] = None,
    ks: Annotated[
        str, typer.Option("-k", metavar="K,K", help=f"Numbers of segments, 1 to {MOST_SEGMENTS}.")
    ] = ",".join(map(str, Options.ks)),
    output: Folder = Path("jgmm-out"),
    covariance: Annotated[
        str, _one_of(FAMILIES, "Covariances of the components")
    ] = Options.covariance,
    restarts: Annotated[
        int, _count(1, 1000, "Fits from different starts for each k; the likeliest is kept.")
    ] = Options.restarts,
    features: Annotated[str, _one_of(FEATURES, "What describes a pixel")] = Options.features,
    seed: Annotated[int, _count(0, 2**32 - 1, "Of the random starts.")] = Options.seed,
    max_iter: Annotated[int, _count(0, 10**6, "Steps of EM at most.")] = Options.max_iter,
    tol: Annotated[
        float,
        typer.Option(
            metavar="T", callback=_tolerance, help="Stop at gains below this, in nats per pixel."
        ),
    ] = Options.tol,
    dtype: Annotated[str, _one_of(("float32", "float64"), "Precision")] = Options.dtype,
    quiet: Quiet = False,
) -> int:
    """Segment images by Gaussian mixtures of several k.

    For each k, DIR/<image name>/ gets segmented_k3.png (each pixel in the mean colour of its
    segment), labels_k3.png, learning_curve_k3.png and model_k3.safetensors; then
    learning_curves.png, comparison.png and summary.json.
    """
    try:
        numbers = parse_ks(ks)
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint="'-k'") from None
    options = Options(numbers, features, covariance, restarts, seed, max_iter, tol, dtype)
    terminal = Terminal(quiet)

    def work(source: Path | None, folder: Path) -> None:
        image = sample_image() if source is None else read_image(source)
        try:
            result = segment_job(image, folder, options, terminal)
        finally:
            terminal.end()
        terminal.table(result)
        terminal.line(f"wrote {folder}")

    if not images:
        return _attempt(work, None, output / sample_image().source.stem)
    folders = output_folders(images, output)
    codes = [_attempt(work, source, folder) for source, folder in folders.items()]
    return _INTERNAL if _INTERNAL in codes else max(codes)


@app.command()
def apply(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model_k*.safetensors file.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image to segment.")],
    output: Folder = Path("jgmm-applied"),
    quiet: Quiet = False,
) -> int:
    """Segment another image by a model that `jgmm segment` wrote.

    DIR/<image name>/ gets segmented_k3.png, labels_k3.png and summary.json.
    """
    terminal = Terminal(quiet)

    def work(source: Path, folder: Path) -> None:
        result = apply_job(model, source, folder)
        score = result["log_likelihood"]
        terminal.line(f"{source.name}: k = {result['k']}, log-likelihood {score:.4f}")
        terminal.line(f"wrote {folder}")

    ((source, folder),) = output_folders([image], output).items()
    return _attempt(work, source, folder)


def output_folders(images: Sequence[Path], output: Path) -> dict[Path, Path]:
    """A folder for each image: its name without suffix, numbered where several have the same.

    An image that is named twice appears once.
    """
    different: dict[str, Path] = {}
    for image in images:
        different.setdefault(os.path.realpath(image), image)
    stems = {i: i.stem if i.stem.strip(".") else i.name for i in different.values()}
    # Some file systems take a and A for the same.
    wanted = {stem.casefold() for stem in stems.values()}
    taken: set[str] = set()
    folders = {}
    for image, stem in stems.items():
        name, count = stem, 1
        while name.casefold() in (taken if count == 1 else taken | wanted):
            count += 1
            name = f"{stem}-{count}"
        taken.add(name.casefold())
        folders[image] = output / name
    return folders


def _attempt(work: Callable[[Any, Path], None], source: Path | None, folder: Path) -> int:
    """Do the work on one image; what goes wrong is said, and becomes the exit status."""
    try:
        work(source, folder)
    except (ImageError, JobError, OutputError) as error:
        complain(str(error))
        return _MENDABLE
    except Exception as error:
        return _explain(error, f" with {source}" if source else "")
    return 0


def _explain(error: Exception, where: str = "") -> int:
    """Say what nobody foresaw, in one line too."""
    if _debug():
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        complain(f"not enough memory{where}; try a smaller image or fewer segments")
        return _MENDABLE
    kind, text = type(error).__name__, " ".join(str(error).split())[:300]
    complain(f"internal error{where}: {kind}: {text} (JGMM_DEBUG=1 shows where)")
    return _INTERNAL


def _debug() -> bool:
    return os.environ.get("JGMM_DEBUG", "") not in ("", "0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; None means those of the process.

    Returns:
        The exit status: 0, 2 after what the user can mend, 1 after an internal error.
    """
    try:
        _runtime.end_at_once_on_signals()
        _runtime.prepare(_debug())
        command = typer.main.get_command(app)
        given = None if arguments is None else list(arguments)
        code = command.main(given, prog_name="jgmm", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except OSError as error:  # of standard output
        complain(f"cannot write to standard output: {error.strerror}")
        sys.stdout = open(os.devnull, "w")
        return _MENDABLE
    except Exception as error:
        describe = getattr(error, "format_message", None)  # of typer's own errors
        if describe is None:
            return _explain(error)
        complain(describe())
        return _MENDABLE
