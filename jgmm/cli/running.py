"""Images one after the other, or together: what `jgmm segment` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jgmm.cli.attempts import attempt, attempt_all, pages_of, with_index
from jgmm.cli.commands import segment_job
from jgmm.cli.joint import joint_job
from jgmm.cli.options import Options, output_folders
from jgmm.cli.terminal import Terminal
from jgmm.cli.tiled import is_tiled, segment_tiled
from jgmm.image import sample_image


def segment_images(
    found: Sequence[Path], output: Path, options: Options, *, joint: bool, quiet: bool
) -> int:
    """Segment images, or the built-in photograph for none; the exit status.

    Args:
        found: the images.
        output: the folder that each gets one in.
        options: how.
        joint: by one mixture.
        quiet: without saying how far it is.
    """
    terminal = Terminal(quiet)
    done: list[tuple[str, Path, dict[str, Any]]] = []

    def work(source: Path | None, folder: Path) -> None:
        try:
            if source is not None and is_tiled(source, options):
                result = segment_tiled(source, folder, options, terminal)
            else:
                pages = [sample_image()] if source is None else pages_of(source, options)
                result = segment_job(pages, folder, options, terminal)
        finally:
            terminal.end()
        done.append((folder.name if source is None else source.name, folder, result))
        terminal.table(result)
        terminal.line(f"wrote {folder}")

    if not found:
        return attempt(work, None, output / sample_image().source.stem)
    if not joint:
        return with_index(attempt_all(work, found, output), done, output, options)
    code, done = joint_job(output_folders(found, output), output, options, terminal)
    terminal.end()
    if done:
        terminal.table(done[0][2])
        terminal.line(f"wrote {output}")
    return with_index(code, done, output, options)
