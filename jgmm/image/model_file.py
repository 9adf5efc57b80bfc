"""Models of images in files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax

from jgmm._checks import as_number
from jgmm.image.model import ImageModel, setup_from
from jgmm.image.settings import MOST_SEGMENTS
from jgmm.mixture import files

_LONGEST = 40  # characters of a version


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """What a file has of a model of images."""

    path: Path
    model: ImageModel
    made: dict[str, Any]  # seed and version of the run that made it, if `jgmm segment` did


def load_model(path: str | os.PathLike[str]) -> ImageModel:
    """Read what segments images, as `jgmm segment` wrote it, or `jgmm.save` of a segmentation.

    Args:
        path: the file.

    Returns:
        The model, for `jgmm.apply`; its mixture has the precision that it was saved in.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no model, a mixture without the features that it is of, or features
            unknown here.

    Example:
        >>> import tempfile, numpy as np, jgmm
        >>> image = np.zeros((4, 6, 3), np.uint8)
        >>> image[:, 4:] = 200, 100, 0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jgmm.save(f"{folder}/model.safetensors", jgmm.segment(image, 2))
        ...     model = jgmm.load_model(f"{folder}/model.safetensors")
        >>> model.setup.recipe.features, jgmm.apply(model, image).labels[0].tolist()
        ('rgb', [0, 0, 0, 0, 1, 1])
    """
    return read_model(path).model


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """The same, with what the file says beside it; see `load_model`."""
    with jax.enable_x64(True):  # so that either precision is kept
        mixture, metadata = files.load_with_metadata(path)
    if not {"channels", "features"} <= metadata.keys():
        raise ValueError(
            "expected a model that `jgmm segment` or jgmm.save(path, segmentation) wrote, got a "
            f"mixture alone, which does not say what features of an image it is of: {path}"
        )
    try:
        as_number("components", mixture.n_components, 1, MOST_SEGMENTS)
        setup = setup_from(metadata)
    except ValueError as error:
        raise ValueError(f"expected a model of images, but: {error}: {path}") from error
    model = ImageModel(mixture=mixture, setup=setup)
    return ModelFile(Path(path), model, _made(metadata.get("made")))


def _made(said: Any) -> dict[str, Any]:
    """What is said of a run, but for what is none, in a file of anybody's."""
    if not isinstance(said, dict):
        return {}
    seed, version = said.get("seed"), said.get("jgmm")
    found: dict[str, Any] = {}
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**64:
        found["seed"] = seed
    if isinstance(version, str) and len(version) <= _LONGEST:
        found["jgmm"] = version
    return found
