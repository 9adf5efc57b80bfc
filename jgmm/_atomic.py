"""What goes out: files that appear whole or not at all, text that can be shown anywhere."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_pending: set[Path] = set()


def discard_pending() -> None:
    """Remove the temporary files of all writes under way, before a sudden end of the process."""
    for temporary in tuple(_pending):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, which appears whole or not at all.

    If that fails, what was at ``path`` stays as it was. The file gets the permissions that an
    ordinary new file would have.

    Raises:
      OSError: the folder is missing or cannot be written to; the message names ``path``.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_whole(f"{folder}/a.txt", b"whole")
      ...     Path(folder, "a.txt").read_text()
      'whole'
    """
    write_by(path, lambda file: file.write(content))


def write_by(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Have a file written by a function, piece by piece; see `write_whole`.

    Args:
      path: the file.
      write: writes the content to the file that it is given; called anew where that fails to get
        its name.
    """
    target = Path(os.path.realpath(path))  # a link is written through, not replaced
    temporary = target.with_name(f".{secrets.token_hex(6)}.tmp")
    _pending.add(temporary)
    try:
        if not _create_unnamed(temporary, write):
            number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            with open(number, "wb") as file:
                write(file)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        with suppress(OSError):  # the file system may be gone
            temporary.unlink(missing_ok=True)
        _pending.discard(temporary)


def _create_unnamed(path: Path, write: Callable[[BinaryIO], object]) -> bool:
    """A new file that gets its name when it is whole; False where the system has no such files.

    Not even an end without notice leaves a part of it.
    """
    try:
        number = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # other systems and file systems, or what will go wrong again
        return False
    with open(number, "wb") as file:
        write(file)
        file.flush()
        try:  # a folder is named so that the link to the file, not that in /proc, is made
            os.link(f"/proc/self/fd/{number}", path, src_dir_fd=number)
        except OSError:
            return False
    return True


def printable(text: str) -> str:
    r"""The text on one line, with escapes for what can not be shown.

    Names of files may hold anything, bytes that are no text among it.

    Example:
        >>> print(printable("a\nb"))
        a\x0ab
    """

    def shown(c: str) -> str:
        if c.isprintable():
            return c
        code = ord(c) - 0xDC00 if "\udc80" <= c <= "\udcff" else ord(c)  # a byte, as Python has it
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return "".join(map(shown, text))
