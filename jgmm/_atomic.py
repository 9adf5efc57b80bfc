"""What goes out: files that appear whole or not at all, text that can be shown anywhere."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_pending: set[Path] = set()


def discard_pending() -> None:
    """Remove the temporary files of all writes under way, before a sudden end of the process."""
    for temporary in tuple(_pending):
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; it becomes ``path`` if the block succeeds.

    If the block fails the temporary file goes, and what was at ``path`` stays as it was. The
    file gets the permissions that an ordinary new file would have.

    Raises:
      OSError: the folder is missing or cannot be written to; the message names ``path``.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with atomic_write(f"{folder}/a.txt") as temporary:
      ...         _ = temporary.write_text("whole")
      ...     Path(folder, "a.txt").read_text()
      'whole'
    """
    target = Path(os.path.realpath(path))  # a link is written through, not replaced
    temporary = target.with_name(f".{secrets.token_hex(6)}.tmp")
    _pending.add(temporary)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        _pending.discard(temporary)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.filename == os.fspath(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
        _pending.discard(temporary)


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
