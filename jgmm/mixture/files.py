"""Mixtures in files: safetensors, which holds arrays and text and cannot run code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from jgmm._atomic import atomic_write
from jgmm.mixture.mixture import Mixture, checked, gaussian

_FORMAT = "jgmm.mixture"
_VERSION = 1
_TENSORS = ("weights", "means", "covariances")


class Described(Protocol):
    """Something made of a mixture, such as a segmentation, and of what a file says beside it."""

    def described(self) -> tuple[Mixture, dict[str, Any]]:
        """The mixture and the metadata."""


def save(
    path: str | os.PathLike[str],
    mixture: Mixture | Described,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a mixture to a safetensors file, which appears whole or not at all.

    Args:
        path: the file to write.
        mixture: K components in D dimensions, concrete; or a `Segmentation` or `ImageModel`, of
            which the file keeps all that `jgmm.apply` needs.
        metadata: anything JSON can say, to be had back by `load_with_metadata`.

    Raises:
        OSError: the file cannot be written.
        TypeError: metadata that JSON cannot say.
        ValueError: components that are not Gaussian.

    Example:
        >>> import tempfile, jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 2)), jnp.ones((1, 2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jgmm.save(f"{folder}/model.safetensors", mixture)
        ...     jgmm.load(f"{folder}/model.safetensors").covariance_type
        'diag'
    """
    from safetensors.numpy import save as to_bytes

    if not isinstance(mixture, Mixture):
        mixture, described = mixture.described()
        metadata = {**described, **(metadata or {})}
    mixture = gaussian(mixture, "save")
    tensors = {name: np.ascontiguousarray(getattr(mixture, name)) for name in _TENSORS}
    header = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "family": mixture.family.name,
        "metadata": json.dumps(dict(metadata or {})),
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, header))


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
    """What `load` returns, and the metadata that was saved with it."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # a missing file is an OSError that names it, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"expected a mixture in a safetensors file, got a foreign or damaged file: {path}"
        ) from error
    if header.get("format") != _FORMAT or not set(_TENSORS) <= tensors.keys():
        raise ValueError(f"expected a mixture saved by jgmm, got other safetensors: {path}")
    version = header.get("version", "")
    if not version.isdigit() or int(version) > _VERSION:
        raise ValueError(
            f"expected a mixture of format version {_VERSION} or earlier, got {version!r}: {path}"
        )
    for name in _TENSORS:
        wide = tensors[name].dtype != jnp.asarray(tensors[name]).dtype
        if (
            not np.issubdtype(tensors[name].dtype, np.floating)
            or not np.isfinite(tensors[name]).all()
        ):
            raise ValueError(f"expected finite floating point {name}, got a damaged file: {path}")
        if wide:
            raise ValueError(
                f"expected JAX to be set up for {tensors[name].dtype} "
                f"(jax.config.update('jax_enable_x64', True)) to load {path}"
            )
    arrays = {name: jnp.asarray(tensors[name]) for name in _TENSORS}
    try:
        # Files of earlier versions do not name the family.
        mixture = checked(Mixture(**arrays, family=header.get("family")))  # type: ignore[arg-type]
        metadata = json.loads(header.get("metadata", "{}"))
    except (ValueError, IndexError) as error:
        shapes = {name: tensors[name].shape for name in _TENSORS}
        raise ValueError(f"expected arrays that make a mixture, got {shapes}: {path}") from error
    return mixture, metadata
