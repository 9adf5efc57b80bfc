"""Faults in writing: what stands in the folder is whole, and nothing else stands there."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jgmm import _atomic

OLD, NEW = b"old" * 1000, b"new" * 100_000


class Faulty:
    """Python's os, and open, of which one call fails; counts the calls that may."""

    MAY_FAIL = ("open", "link", "replace")

    def __init__(self, fails_at: int, number: int, unnamed: bool) -> None:
        self.calls, self.fails_at, self.number, self.unnamed = 0, fails_at, number, unnamed

    def __getattr__(self, name: str) -> Any:
        if name == "O_TMPFILE" and not self.unnamed:
            raise AttributeError(name)
        value = getattr(os, name)
        return self.guarded(value) if name in self.MAY_FAIL else value

    def guarded(self, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.count()
            return function(*arguments, **options)

        return call

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(self.number, os.strerror(self.number))

    def opened(self, number: int, mode: str) -> Any:
        faulty = self

        class File(io.FileIO):
            """Writes some, and then no more."""

            def write(self, content: Any) -> int:
                half = len(content) // 2
                super().write(content[:half])
                faulty.count()
                return half + (super().write(content[half:]) or 0)

            def close(self) -> None:
                if not self.closed:
                    super().close()
                    faulty.count()  # where network file systems say that there is no room

        return File(number, mode)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "file").write_bytes(OLD)
    yield tmp_path
    assert not _atomic._pending


def attempt(place: Path, monkeypatch: pytest.MonkeyPatch, faulty: Faulty) -> bool:
    """Whether the file could be written, and was."""
    error: OSError | None = None
    with monkeypatch.context() as patch:
        patch.setattr(_atomic, "os", faulty)
        patch.setattr(_atomic, "open", faulty.opened, raising=False)
        try:
            _atomic.write_whole(place / "file", NEW)
        except OSError as raised:
            error = raised
    if error is not None:
        assert (error.errno, error.filename) == (faulty.number, os.fspath(place / "file"))
    return error is None


FAULTS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE]


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("number", FAULTS, ids=[errno.errorcode[n] for n in FAULTS])
def test_each_call_that_writes_may_fail(
    number: int, unnamed: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Faulty(0, number, unnamed)
    assert attempt(place, monkeypatch, counter)
    assert counter.calls >= 4
    for at in range(1, counter.calls + 1):
        (place / "file").write_bytes(OLD)
        done = attempt(place, monkeypatch, Faulty(at, number, unnamed))
        assert (place / "file").read_bytes() == (NEW if done else OLD)
        assert [path.name for path in place.iterdir()] == ["file"]
        assert attempt(place, monkeypatch, Faulty(0, number, unnamed))
        assert (place / "file").read_bytes() == NEW


def test_a_file_system_that_is_gone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Faulty):
        def count(self) -> None:
            raise OSError(errno.ENODEV, "No such device")

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(Path, "unlink", fail)
    assert not attempt(place, monkeypatch, Gone(0, errno.ENODEV, False))


def test_a_sudden_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source: Path, target: Path) -> None:
        assert [path.name for path in tmp_path.iterdir()] == [source.name]
        _atomic.discard_pending()  # as a signal would
        assert list(tmp_path.iterdir()) == []
        raise OSError(errno.ENOENT, "gone")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="file"):
        _atomic.write_whole(tmp_path / "file", NEW)
