"""Mixtures in files: safetensors, which holds arrays and text and cannot run code."""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from jgmm import _checks
from jgmm._atomic import write_whole
from jgmm.families.distribution import GAUSSIAN
from jgmm.families.distributions import of_text, text_of
from jgmm.mixture.mixture import FitLike, Mixture, as_mixture
from jgmm.mixture.soundness import sound

_FORMAT = "jgmm.mixture"
_VERSION = 2  # of what has degrees of freedom, which earlier versions would not see; of others 1
_MOST_BYTES = 2**30  # of a file; its header has 100 MB at most, which safetensors looks at
_TENSORS = ("weights", "means", "covariances")
_SHAPES = "degrees_of_freedom"


class Described(Protocol):
    """Something made of a mixture, such as a segmentation, and of what a file says beside it."""

    def described(self) -> tuple[Mixture, dict[str, Any]]:
        """The mixture and the metadata."""


def save(
    path: str | os.PathLike[str],
    mixture: Mixture | FitLike | Described,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a mixture to a safetensors file, which appears whole or not at all.

    Args:
        path: the file to write.
        mixture: K components in D dimensions, concrete, or the result of a fit, whose mixture is
            written; or a `Segmentation` or `ImageModel`, of which the file keeps all that
            `jgmm.apply` needs.
        metadata: anything JSON can say, to be had back by `load_with_metadata`.

    Raises:
        OSError: the file cannot be written.
        TypeError: what holds no mixture; metadata that JSON cannot say.
        ValueError: parameters that `load` would refuse, such as those of a fit that went wrong.

    Example:
        >>> import tempfile, jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 2)), jnp.ones((1, 2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jgmm.save(f"{folder}/model.safetensors", mixture)
        ...     jgmm.load(f"{folder}/model.safetensors").covariance_type
        'diag'
    """
    from safetensors.numpy import save as to_bytes

    describe = getattr(mixture, "described", None)
    if describe is not None:
        mixture, described = describe()
        metadata = {**described, **(metadata or {})}
    mixture = as_mixture(mixture)
    try:
        mixture = sound(mixture)
    except ValueError as error:
        raise ValueError(f"save: {error}") from None
    tensors = {name: np.ascontiguousarray(getattr(mixture, name)) for name in _TENSORS}
    shaped = mixture.degrees_of_freedom is not None
    header = {
        "format": _FORMAT,
        "version": str(_VERSION if shaped else 1),
        "family": mixture.family.name,
        "metadata": json.dumps(dict(metadata or {})),
    }
    if shaped:
        tensors[_SHAPES] = np.ascontiguousarray(mixture.degrees_of_freedom)
        header["distribution"] = text_of(mixture.distribution)
    write_whole(path, _in_order(to_bytes(tensors, header)))


def _in_order(content: bytes) -> bytes:
    """The same file with metadata in the order of their names, which safetensors leaves to chance.

    A file is the length of its header, in 8 bytes, the header in JSON, and the numbers.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def load(path: str | os.PathLike[str]) -> Mixture:
    """Read a mixture that `save` wrote.

    Args:
        path: the file.

    Returns:
        The mixture, equal to the saved one to the bit.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold a mixture, is damaged, or comes from a later version.

    Example:
        >>> import tempfile, pathlib, jgmm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "not-a-model.txt")
        ...     _ = path.write_text("hello")
        ...     try:
        ...         jgmm.load(path)
        ...     except ValueError as error:
        ...         print(str(error).replace(folder, "..."))
        expected a mixture in a safetensors file, got a foreign or damaged file: .../not-a-model.txt
    """
    return load_with_metadata(path)[0]


def load_with_metadata(path: str | os.PathLike[str]) -> tuple[Mixture, dict[str, Any]]:
    """What `load` returns, and the metadata that was saved with it.

    What the metadata says is for the caller to judge: files may come from strangers.
    """
    header, tensors = _read(path)
    if header.get("format") != _FORMAT or not set(_TENSORS) <= tensors.keys():
        raise ValueError(f"expected a mixture saved by jgmm, got other safetensors: {path}")
    version = header.get("version", "")
    if version not in map(str, range(1, _VERSION + 1)):
        raise ValueError(
            f"expected a mixture of format version {_VERSION} or earlier, "
            f"got {reprlib.repr(version)}: {path}"
        )
    try:
        for name, array in tensors.items():
            if array.dtype not in (np.float32, np.float64):
                raise ValueError(f"expected {name} in float32 or float64, got {array.dtype}")
        # Files of earlier versions do not name the family.
        family: Any = header.get("family")
        distribution = of_text(header.get("distribution", GAUSSIAN.name))
        mixture = Mixture(**tensors, family=family, distribution=distribution)
        sound(mixture)
        metadata = _metadata(header.get("metadata", "{}"))
    except ValueError as error:
        raise ValueError(f"expected a mixture saved by jgmm, but: {error}: {path}") from error
    for name in tensors:
        if tensors[name].dtype != _checks.as_array(tensors[name]).dtype:
            raise ValueError(
                f"expected JAX to be set up for {tensors[name].dtype} "
                f"(jax.config.update('jax_enable_x64', True)) to load {path}"
            )
    return jax.tree.map(_checks.as_array, mixture), metadata


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The header of a file of safetensors, and of its tensors those that make a mixture."""
    from safetensors import SafetensorError, safe_open

    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):  # pipes would be waited for
        raise ValueError(f"expected a mixture in a safetensors file, got no file: {path}")
    if about.st_size > _MOST_BYTES:
        raise ValueError(f"expected a mixture of {_MOST_BYTES:,} bytes at most: {path}")
    with open(path, "rb"):  # an OSError names the file, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = set(file.keys()) & {*_TENSORS, _SHAPES}
            return header, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected a mixture in a safetensors file, got a foreign or damaged file: {path}"
        ) from error


def _metadata(text: str) -> dict[str, Any]:
    """The metadata of a header."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("expected metadata in JSON, got something else") from None
    if not isinstance(content, dict):
        raise ValueError(f"expected metadata by name, got {reprlib.repr(content)}")
    return content
