"""Many images in the place of one: each is segmented for itself, by programs that they share."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import numpy as np

from jgmm.image.files import Image
from jgmm.image.samples import Samples

P = ParamSpec("P")
R = TypeVar("R")
_OF_EACH = ("mask", "labels")  # arguments of which each image has its own
_STEP = 4  # lengths are so far apart, and an image takes at most so many times its own work


class PerImage(Protocol[P, R]):
    """A function of an image, or of several."""

    @overload
    def __call__(
        self, image: list[Any] | tuple[Any, ...], *args: P.args, **kwargs: P.kwargs
    ) -> list[R]: ...
    @overload
    def __call__(self, image: Any, *args: P.args, **kwargs: P.kwargs) -> R: ...


def per_image(
    prepare: Callable[..., Samples],
) -> Callable[[Callable[Concatenate[Any, P], R]], PerImage[P, R]]:
    """Let a function of an image, or of its samples, take several images and return a list.

    Several are a list or tuple of whatever is an image, or an array [B, H, W, C]. ``mask`` and
    ``labels`` then are None, or as many as there are images, each an array or None.

    Args:
        prepare: makes the samples of an image; has the keywords of the function.
    """

    def of_one(function: Callable[Concatenate[Any, P], R]) -> PerImage[P, R]:
        @functools.wraps(function)
        def each(image: Any, *args: Any, **kwargs: Any) -> Any:
            if not are_several(image):
                return function(image, *args, **kwargs)
            if len(image) == 0:
                raise ValueError("image: expected at least one, got none")
            own = {name: _one_each(name, kwargs.pop(name, None), len(image)) for name in _OF_EACH}
            made = [
                prepare(one, **kwargs, **{name: values[i] for name, values in own.items()})
                for i, one in enumerate(image)
            ]
            return [function(samples, *args, **kwargs) for samples in alike(made)]

        found: Any = each
        return found

    return of_one


def are_several(image: Any) -> bool:
    """Whether this is a batch of images, and no image.

    Example:
        >>> are_several([np.zeros((2, 3))]), are_several([[0, 1], [2, 3]])
        (True, False)
    """
    if isinstance(image, list | tuple):
        return not image or _is_image(image[0])
    return getattr(image, "ndim", 0) == 4


def _is_image(value: Any) -> bool:
    """Whether a member of a list is an image, and not a row of one."""
    named = isinstance(value, str | os.PathLike | Image)
    return named or getattr(value, "ndim", 0) >= 2 or hasattr(value, "getbands")  # as Pillow's have


def _one_each(name: str, values: Any, n: int) -> Sequence[Any]:
    if values is None:
        return [None] * n
    if len(values) != n:
        raise ValueError(f"{name}: expected one for each of {n} images, got {len(values)}")
    return list(values)


def alike(several: Sequence[Samples]) -> list[Samples]:
    """The samples of several images, as many of each as of the others, or of few numbers.

    Then they share compiled programs, which depend on how many there are. The longest gives the
    measure; those of a quarter or less of it are brought to that quarter, or to one of that. Starts
    and searches draw some of the samples by their places, and so others than of an image alone.
    """
    longest = max(len(samples.features) for samples in several)
    return [_stretched(s, _length(len(s.features), longest)) for s in several]


def _length(n: int, longest: int) -> int:
    while n <= longest // _STEP:
        longest //= _STEP
    return longest


def _stretched(samples: Samples, length: int) -> Samples:
    """So many samples: to have one twice, each of half its weight, has the same likelihood.

    Samples of weight 0 would not do: as many as they are, so many fewer would be drawn of others.
    """
    n = len(samples.features)
    if n == length:
        return samples
    order = np.arange(length) % n
    weights = samples.weights / np.bincount(order).astype(samples.weights.dtype)
    return dataclasses.replace(
        samples,
        features=samples.features[order],
        weights=weights[order],
        labels=None if samples.labels is None else samples.labels[order],
        index=np.arange(n, dtype=np.int32) if samples.index is None else samples.index,
        colours=samples.colours[order],
    )
