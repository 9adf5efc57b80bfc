"""Climbs kept in a file, from where the same call goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jgmm import _checks
from jgmm._atomic import write_whole
from jgmm.families.family import Family
from jgmm.fitting.choices import Choices

T = TypeVar("T")
_FORMAT, _VERSION = "jgmm.checkpoint", 2
_OPTIONS = (
    "covariance_type", "distribution", "n_restarts", "max_iter", "accelerate", "search",
    "short_runs", "missing",
)  # fmt: skip
DATA = "the data"


class Checkpoint:
    """The file of the runs of one call."""

    def __init__(self, path: str | os.PathLike[str], every: int) -> None:
        """Nothing is read or written yet.

        Args:
            path: of the file.
            every: steps between two writes.
        """
        self._path = Path(path)
        self.every = every
        self._about = ""
        if not self._path.parent.is_dir():
            raise ValueError(f"checkpoint: expected a file in a folder, got {path}: no such folder")

    def begin(self, about: Mapping[str, Any], like: T) -> T | None:
        """What is in the file; None where there is no file.

        Args:
            about: what the runs depend on.
            like: a tree of the same shapes.

        Raises:
            ValueError: a file of other data or other options, or of something else.
        """
        self._about = json.dumps(about)
        if not self._path.exists():
            return None
        header, leaves = self._read()
        theirs = json.loads(header["about"])
        other = [name for name in about if theirs.get(name) != about[name]]
        if other:
            # With other options data may be measured otherwise.
            named = [name for name in other if name != DATA] or other
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
        kept: T = jax.tree.unflatten(tree, leaves)
        return kept

    def write(self, tree: Any) -> None:
        """Keep a tree of arrays. Of several processes the first writes, as all have the same."""
        leaves = jax.tree.leaves(jax.device_get(tree))
        if jax.process_index() > 0:
            return
        from safetensors.numpy import save

        # Without a copy of its own safetensors writes what lies in memory, whatever the order.
        tensors = {str(i): np.ascontiguousarray(leaf) for i, leaf in enumerate(leaves)}
        tensors = {name: leaf.reshape(leaf.shape or (1,)) for name, leaf in tensors.items()}
        shapes = json.dumps([list(np.shape(leaf)) for leaf in leaves])
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


def about(data: Any, k: int, choices: Choices) -> dict[str, Any]:
    """What runs depend on, to compare.

    Args:
        data: what JSON takes, and tells data apart.
        k: the number of components.
        choices: the keywords.
    """
    return {
        DATA: data,
        "k": k,
        "key": digest(jax.random.key_data(_checks.as_key(choices.key))),
        "init": _named(choices.init),
        "tol": digest(choices.tol),
        "reg_covar": digest(choices.reg_covar),
        "degrees_of_freedom": _named(choices.degrees_of_freedom),
        "prior": _named(choices.prior),
        **{name: _plain(getattr(choices, name)) for name in _OPTIONS},
    }


def _plain(value: Any) -> Any:
    """A count, whoever made it, or a family, as JSON takes it."""
    if isinstance(value, Family):
        return value.name
    return value.item() if hasattr(value, "item") else value


def _named(value: Any) -> str:
    """A name as it is, and what is none as `digest` has it."""
    return value if isinstance(value, str) else digest(value)


def digest(tree: Any) -> str:
    """A short text that tells trees of arrays apart."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]
