"""Work on images, of which one that goes wrong stops no other; exit status and error lines."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from jgmm.cli import runtime
from jgmm.cli.options import JobError, Options, images_in, output_folders, pages_for
from jgmm.cli.pages import index_of
from jgmm.cli.process import INTERNAL, MENDABLE, complain, debugging
from jgmm.cli.terminal import OutputError, UnheardError
from jgmm.image import Image, ImageError


def pages_of(source: Path, options: Options) -> list[Image]:
    """The pages of an image that the options take."""
    return pages_for(source, options.page, options.stack, options.mask)


def images_of(paths: Sequence[Path]) -> list[Path] | None:
    """The images of some paths; None after saying what is wrong with them."""
    try:
        return images_in(paths)
    except JobError as error:
        complain(str(error))
        return None


def attempt_all(work: Callable[[Any, Path], None], images: Sequence[Path], output: Path) -> int:
    """Do the work on each image, into a folder of its own; the exit status of the worst."""
    folders = output_folders(images, output)
    return worst([attempt(work, source, folder) for source, folder in folders.items()])


def worst(codes: Collection[int]) -> int:
    """The exit status of several."""
    return INTERNAL if INTERNAL in codes else max(codes)


def attempt(work: Callable[[Any, Path], None], source: Path | None, folder: Path) -> int:
    """Do the work on one image; what goes wrong is said, and becomes the exit status."""
    try:
        runtime.expect_devices()
        work(source, folder)
    except (OutputError, UnheardError):  # nothing more can be said
        raise
    except (ImageError, JobError, runtime.SetupError) as error:
        complain(str(error))
        return MENDABLE
    except Exception as error:
        return explain(error, f" with {source}" if source else "")
    return 0


def explain(error: Exception, where: str = "") -> int:
    """Say what nobody foresaw, in one line too."""
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        complain(f"not enough memory{where}; try a smaller image or fewer segments")
        return MENDABLE
    kind, text = type(error).__name__, " ".join(str(error).split())[:300]
    complain(f"internal error{where}: {kind}: {text} (JGMM_DEBUG=1 shows where)")
    return INTERNAL


def with_index(
    code: int, done: Sequence[tuple[str, Path, dict[str, Any]]], output: Path, options: Options
) -> int:
    """The exit status, after an index of several images is written."""
    if len(done) > 1 and options.report:
        return max(code, attempt(lambda _, folder: index_of(folder, done), None, output))
    return code
