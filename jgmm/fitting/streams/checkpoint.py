"""A climb kept in a file, from where the same call goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jgmm._atomic import write_whole
from jgmm.fitting.streams.survey import Survey
from jgmm.fitting.streams.wishes import Wishes
from jgmm.solvers.iterate import RUNNING, Loop

_FORMAT, _VERSION = "jgmm.checkpoint", 1
_OPTIONS = (
    "covariance_type", "distribution", "n_restarts", "max_iter", "accelerate", "search"
)  # fmt: skip


class Checkpoint:
    """The file of one climb."""

    def __init__(self, path: str | os.PathLike[str], every: int) -> None:
        """Nothing is read or written yet.

        Args:
            path: of the file.
            every: turns between two writes.
        """
        self._path = Path(path)
        self._every = every
        self._about = ""
        if not self._path.parent.is_dir():
            raise ValueError(f"checkpoint: expected a file in a folder, got {path}: no such folder")

    def begin(self, wishes: Wishes, seen: Survey, like: Loop) -> Loop | None:
        """The climb that is in the file; None where there is no file.

        Args:
            wishes: what was asked for.
            seen: of the data.
            like: a climb of the same shapes.

        Raises:
            ValueError: a file of other data or other options, or of something else.
        """
        about = _about(wishes, seen)
        self._about = json.dumps(about)
        if not self._path.exists():
            return None
        header, leaves = self._read()
        theirs = json.loads(header["about"])
        other = [name for name in about if theirs.get(name) != about[name]]
        if other:
            named = ["the data" if name == "data" else name for name in other]
            raise ValueError(
                f"checkpoint: expected one of the same call, got one where {', '.join(named)} "
                f"differed: {self._path}; name another file, or remove it to begin anew"
            )
        expected, tree = jax.tree.flatten(like)
        shapes = [(tuple(leaf.shape), leaf.dtype) for leaf in expected]
        if [(leaf.shape, leaf.dtype) for leaf in leaves] != shapes:
            raise ValueError(
                f"checkpoint: expected that of a fit, got a damaged file: {self._path}"
            )
        return jax.tree.unflatten(tree, leaves)

    def after(self, loop: Loop) -> None:
        """Write the climb, where its turn is one of those, or the last."""
        if int(loop.n_evaluated) % self._every and int(loop.status) == RUNNING:
            return
        from safetensors.numpy import save

        leaves = jax.tree.leaves(jax.device_get(loop))
        # Without a copy of its own safetensors writes what lies in memory, whatever the order.
        tensors = {str(i): np.ascontiguousarray(leaf) for i, leaf in enumerate(leaves)}
        tensors = {name: leaf.reshape(leaf.shape or (1,)) for name, leaf in tensors.items()}
        shapes = json.dumps([list(leaf.shape) for leaf in leaves])
        header = {
            "format": _FORMAT,
            "version": str(_VERSION),
            "about": self._about,
            "shapes": shapes,
        }
        write_whole(self._path, save(tensors, header))

    def _read(self) -> tuple[dict[str, str], list[Any]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="numpy") as file:
                header = file.metadata() or {}
                shapes = json.loads(header.get("shapes", "[]"))
                leaves = [
                    file.get_tensor(str(i)).reshape(tuple(shape)) for i, shape in enumerate(shapes)
                ]
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"checkpoint: expected that of a fit, got a foreign or damaged file: {self._path}"
            ) from error
        if header.get("format") != _FORMAT or header.get("version") != str(_VERSION):
            raise ValueError(
                f"checkpoint: expected that of a fit by this version, got another: {self._path}"
            )
        return header, leaves


def _about(wishes: Wishes, seen: Survey) -> dict[str, Any]:
    """What a climb depends on, to compare."""
    choices = wishes.choices
    known = dataclasses.asdict(dataclasses.replace(choices, key=None, init="", prior=None))
    frame = _digest((seen.frame, seen.origin))
    data = [seen.n, seen.n_features, seen.dtype.name, seen.weight, seen.checksum, frame]
    return {
        "data": data,
        "k": wishes.k,
        "key": _digest(jax.random.key_data(wishes.key)),
        "init": _named(wishes.init),
        "tol": _digest(choices.tol),
        "reg_covar": _digest(choices.reg_covar),
        "degrees_of_freedom": _named(choices.degrees_of_freedom),
        "prior": _named(choices.prior),
        "chunk": wishes.chunk,
        **{name: known[name] for name in _OPTIONS},
    }


def _named(value: Any) -> str:
    """A name as it is, and what is none as `_digest` has it."""
    return value if isinstance(value, str) else _digest(value)


def _digest(tree: Any) -> str:
    """A short text that tells trees of arrays apart."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]
