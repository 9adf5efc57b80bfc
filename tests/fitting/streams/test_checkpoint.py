"""A climb goes on where it was ended, to the same bits; other files are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamed import X, stream

import jgmm

OPTIONS: dict[str, Any] = {"max_iter": 9, "tol": 0}


class Ended(Exception):
    pass


class Source:
    """X, until a pass that ends the process, so to speak."""

    def __init__(self, last: int) -> None:
        self.passes, self.last = 0, last

    def blocks(self) -> Iterator[Any]:
        self.passes += 1
        yield X[:500]
        if self.passes > self.last:
            raise Ended
        yield X[500:]


@pytest.mark.parametrize("every", [1, 4])
def test_a_climb_goes_on_where_it_was(every: int, tmp_path: Path) -> None:
    unbroken = stream(X, **OPTIONS)
    path = tmp_path / "climb.safetensors"
    options = {**OPTIONS, "checkpoint": path, "every": every}
    source = Source(6)
    with pytest.raises(Ended):
        stream(source, **options)
    rest = Source(99)
    assert stream(rest, **options) == unbroken
    steps = 5 - 5 % every  # after the first pass, that were made and kept
    assert rest.passes == 1 + 10 - steps
    again = Source(99)
    assert stream(again, **options) == unbroken
    assert again.passes == 1


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "climb.safetensors"
    options = {**OPTIONS, "checkpoint": path}
    stream(X, **options)
    for source, changed, message in (
        (X[::-1], {}, "where the data differed"),
        (X, {"tol": 0.5}, "where tol differed"),
        (X, {"max_iter": 10}, "where max_iter differed"),
        (X, {"key": 1}, "where key differed"),
        (X, {"prior": jgmm.Prior(*map(np.asarray, (1.0, [0.0, 0], 1.0, np.eye(2), 5.0)))}, "prior"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(source, **{**options, **changed})
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="foreign or damaged"):
        stream(X, **options)
    with pytest.raises(ValueError, match="no such folder"):
        stream(X, **{**options, "checkpoint": tmp_path / "none" / "a"})
